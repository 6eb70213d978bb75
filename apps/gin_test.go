package apps

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

type user struct {
	Name  string `json:"name" form:"name" uri:"name" binding:"required,min=2"`
	Email string `json:"email" form:"email" binding:"omitempty,email"`
	Age   int    `json:"age" form:"age" binding:"gte=0"`
}

// ginApp is a service of users and their files, which are in dir.
func ginApp(dir string) http.Handler {
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.MaxMultipartMemory = 64 << 10 // more is in files
	r.Use(gin.LoggerWithWriter(io.Discard), gin.RecoveryWithWriter(io.Discard))
	r.NoRoute(func(c *gin.Context) { c.JSON(http.StatusNotFound, gin.H{"none": c.Request.URL.Path}) })
	v1 := r.Group("/v1", func(c *gin.Context) { c.Header("X-Version", "1") })
	v1.POST("/users", func(c *gin.Context) {
		var u user
		if err := c.ShouldBindJSON(&u); err != nil {
			c.AbortWithStatusJSON(http.StatusBadRequest, gin.H{"error": err.Error()})
			return
		}
		c.IndentedJSON(http.StatusCreated, u)
	})
	v1.GET("/users", func(c *gin.Context) {
		var u user
		if err := c.BindQuery(&u); err != nil { // answers 400 itself
			return
		}
		c.XML(http.StatusOK, u)
	})
	v1.GET("/users/:name", func(c *gin.Context) {
		c.SetCookie("seen", c.Param("name"), 60, "/", "", true, true)
		c.String(http.StatusOK, "%s from %s, %v", c.Param("name"), c.ClientIP(), c.QueryArray("x"))
	})
	v1.PUT("/users/:name", func(c *gin.Context) {
		var u user
		if err := c.ShouldBind(&u); err != nil {
			c.String(http.StatusUnprocessableEntity, "%v", err)
			return
		}
		c.YAML(http.StatusOK, u)
	})
	v1.POST("/files", func(c *gin.Context) {
		form, err := c.MultipartForm()
		if err != nil {
			c.String(http.StatusBadRequest, "%v", err)
			return
		}
		for _, h := range form.File["file"] {
			f, err := h.Open()
			if err != nil {
				_ = c.AbortWithError(http.StatusInternalServerError, err)
				return
			}
			sum := sha256.New()
			n, err := io.Copy(sum, f)
			_ = f.Close()
			c.String(http.StatusOK, "%s %s %d %x %v\n", c.PostForm("title"), h.Filename, n, sum.Sum(nil), err)
		}
	})
	private := r.Group("/private", gin.BasicAuth(gin.Accounts{"ada": "secret"}))
	private.GET("/", func(c *gin.Context) { c.String(http.StatusOK, c.MustGet(gin.AuthUserKey).(string)) })
	r.StaticFile("/one", filepath.Join(dir, "page.txt"))
	r.Static("/static", dir)
	r.GET("/attachment", func(c *gin.Context) { c.FileAttachment(filepath.Join(dir, "page.txt"), "naïve.txt") })
	r.GET("/reader", func(c *gin.Context) {
		c.DataFromReader(http.StatusOK, int64(len(large)), "text/plain", strings.NewReader(large), map[string]string{"X-From": "a reader"})
	})
	r.GET("/large", func(c *gin.Context) { c.String(http.StatusOK, large) })
	r.GET("/moved", func(c *gin.Context) { c.Redirect(http.StatusFound, "/v1/users/ada") })
	r.GET("/events", func(c *gin.Context) {
		for i := range 3 {
			c.SSEvent("tick", gin.H{"n": i})
			c.Writer.Flush()
		}
	})
	r.GET("/stream", func(c *gin.Context) {
		i := 0
		c.Stream(func(w io.Writer) bool {
			fmt.Fprintln(w, "step", i)
			i++
			return i < 3
		})
	})
	r.GET("/error", func(c *gin.Context) { _ = c.AbortWithError(http.StatusTeapot, errors.New("short and stout")) })
	r.GET("/panic", func(*gin.Context) { panic("broken") })
	r.Any("/any", func(c *gin.Context) { c.Data(http.StatusOK, "", []byte(c.Request.Method)) })
	r.GET("/std", gin.WrapF(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Pattern == "", r.Host) }))
	return r
}

// tree is a directory with files of a fixed age.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	changed := time.Date(2024, 5, 17, 9, 30, 0, 0, time.UTC)
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, changed, changed))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// form is multipart content.
func form(parts ...string) string {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "--edge\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n", parts[i], parts[i+1])
	}
	return b.String() + "--edge--\r\n"
}

const (
	asJSON = "Content-Type: application/json"
	asForm = "Content-Type: application/x-www-form-urlencoded"
	asFile = "Content-Type: multipart/form-data; boundary=edge"
)

func TestGin(t *testing.T) {
	dir := tree(t, map[string]string{"page.txt": large, "sub/small.txt": "small"})
	same(t, only(ginApp(dir)), []request{
		{method: "POST", target: "/v1/users", header: asJSON, body: `{"name":"Ada","email":"ada@example.com","age":36}`},
		{name: "JSON with faults", method: "POST", target: "/v1/users", header: asJSON, body: `{"name":"A","email":"ada","age":-1}`},
		{name: "JSON that is cut", method: "POST", target: "/v1/users", header: asJSON, body: `{"name":`},
		{name: "no JSON", method: "POST", target: "/v1/users", header: asJSON},
		{target: "/v1/users?name=Ada&age=3"},
		{target: "/v1/users?name=A"},
		{target: "/v1/users/Ada?x=1&x=2"},
		{target: "/v1/users/%41da%20L"},
		{method: "PUT", target: "/v1/users/x", header: asForm, body: "name=Ada&email=a%40example.com"},
		{name: "form with faults", method: "PUT", target: "/v1/users/x", header: asForm, body: "email=a"},
		{name: "files", method: "POST", target: "/v1/files", header: asFile,
			body: form(`name="title"`, "two", `name="file"; filename="a.txt"`, "first", `name="file"; filename="b.txt"`, large)},
		{name: "form that is cut", method: "POST", target: "/v1/files", header: asFile, body: form(`name="title"`, "two")[:60]},
		{name: "no form", method: "POST", target: "/v1/files", header: asJSON, body: "{}"},
		{name: "method not allowed", method: "DELETE", target: "/v1/users"},
		{name: "no route", target: "/v2/users"},
		{name: "slash too many", target: "/v1/users/Ada/"},
		{name: "slash too few", target: "/private", header: "Authorization: Basic YWRhOnNlY3JldA=="},
		{target: "/private/"},
		{name: "authorized", target: "/private/", header: "Authorization: Basic YWRhOnNlY3JldA=="},
		{target: "/one"},
		{method: "HEAD", target: "/one"},
		{name: "range", target: "/one", header: "Range: bytes=1000-1999"},
		{target: "/static/sub/small.txt"},
		{target: "/static/sub/"},
		{target: "/static/none"},
		{target: "/attachment"},
		{target: "/reader"},
		{target: "/large"},
		{target: "/moved"},
		{target: "/events"},
		{target: "/error"},
		{target: "/panic"},
		{method: "PATCH", target: "/any", body: "x"},
		{method: "PURGE", target: "/any"},
		{target: "/std"},
	})
}
