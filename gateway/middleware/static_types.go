package middleware

import (
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
)

// sniffBytes is how much http.DetectContentType reads.
const sniffBytes = 512

// webTypes are the media types of the files of the web, by extension. They come before the table of the machine, so
// that an answer does not depend on what is installed. Text is UTF-8.
var webTypes = map[string]string{
	// Pages, styles and programs.
	".html":  "text/html; charset=utf-8",
	".htm":   "text/html; charset=utf-8",
	".xhtml": "application/xhtml+xml",
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".mjs":   "text/javascript; charset=utf-8",
	".cjs":   "text/javascript; charset=utf-8",
	".wasm":  "application/wasm",
	// Data.
	".json":        "application/json",
	".jsonld":      "application/ld+json",
	".geojson":     "application/geo+json",
	".map":         "application/json",
	".webmanifest": "application/manifest+json",
	".xml":         "text/xml; charset=utf-8",
	".xsl":         "text/xml; charset=utf-8",
	".rss":         "application/rss+xml",
	".atom":        "application/atom+xml",
	// Text.
	".txt":      "text/plain; charset=utf-8",
	".text":     "text/plain; charset=utf-8",
	".log":      "text/plain; charset=utf-8",
	".md":       "text/markdown; charset=utf-8",
	".markdown": "text/markdown; charset=utf-8",
	".csv":      "text/csv; charset=utf-8",
	".tsv":      "text/tab-separated-values; charset=utf-8",
	".ics":      "text/calendar; charset=utf-8",
	".vcf":      "text/vcard; charset=utf-8",
	".vtt":      "text/vtt; charset=utf-8",
	".yaml":     "application/yaml",
	".yml":      "application/yaml",
	".toml":     "application/toml",
	// Images.
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".apng": "image/apng",
	".jpg":  "image/jpeg",
	".jpeg": "image/jpeg",
	".gif":  "image/gif",
	".webp": "image/webp",
	".avif": "image/avif",
	".jxl":  "image/jxl",
	".heic": "image/heic",
	".ico":  "image/x-icon",
	".bmp":  "image/bmp",
	".tif":  "image/tiff",
	".tiff": "image/tiff",
	// Fonts.
	".woff":  "font/woff",
	".woff2": "font/woff2",
	".ttf":   "font/ttf",
	".otf":   "font/otf",
	".eot":   "application/vnd.ms-fontobject",
	// Sound and films.
	".mp3":  "audio/mpeg",
	".m4a":  "audio/mp4",
	".aac":  "audio/aac",
	".ogg":  "audio/ogg",
	".oga":  "audio/ogg",
	".opus": "audio/ogg",
	".wav":  "audio/wav",
	".flac": "audio/flac",
	".weba": "audio/webm",
	".mp4":  "video/mp4",
	".m4v":  "video/mp4",
	".webm": "video/webm",
	".ogv":  "video/ogg",
	".mov":  "video/quicktime",
	".mpeg": "video/mpeg",
	".avi":  "video/x-msvideo",
	".mkv":  "video/matroska",
	".m3u8": "application/vnd.apple.mpegurl",
	".mpd":  "application/dash+xml",
	".ts":   "video/mp2t",
	// Documents and archives.
	".pdf":  "application/pdf",
	".epub": "application/epub+zip",
	".rtf":  "application/rtf",
	".doc":  "application/msword",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xls":  "application/vnd.ms-excel",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".ppt":  "application/vnd.ms-powerpoint",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".odt":  "application/vnd.oasis.opendocument.text",
	".ods":  "application/vnd.oasis.opendocument.spreadsheet",
	".zip":  "application/zip",
	".tar":  "application/x-tar",
	".gz":   "application/gzip",
	".tgz":  "application/gzip",
	".zst":  "application/zstd",
	".br":   "application/octet-stream",
	".bz2":  "application/x-bzip2",
	".xz":   "application/x-xz",
	".7z":   "application/x-7z-compressed",
	".bin":  "application/octet-stream",
	".exe":  "application/octet-stream",
	".dmg":  "application/octet-stream",
	".iso":  "application/octet-stream",
	".deb":  "application/vnd.debian.binary-package",
	".apk":  "application/vnd.android.package-archive",
}

// extension is the extension of the last segment of a name, in lower case; "" if it has none.
func extension(name string) string {
	i := strings.LastIndexAny(name, "./")
	if i < 0 || name[i] == '/' {
		return ""
	}
	return strings.ToLower(name[i:])
}

// typeByName is the media type by the extension of a name: of webTypes, else of the machine; "" if it is unknown.
func typeByName(name string) string {
	ext := extension(name)
	if t, ok := webTypes[ext]; ok || ext == "" {
		return t
	}
	return mime.TypeByExtension(ext)
}

// typeByContent is the media type by the first bytes of a file.
func typeByContent(file *os.File) (string, error) {
	var b [sniffBytes]byte
	n, err := file.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return http.DetectContentType(b[:n]), nil
}
