// Package head has the requests of the benchmarks. They differ in their heads; none has
// content.
package head

// Hello is the smallest request.
const Hello = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"

// Browser has the fields that a desktop browser sends.
const Browser = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
	"Cache-Control: max-age=0\r\n" +
	"Cookie: _ga=GA1.1.1234567890.1700000000; session=0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ; theme=dark\r\n" +
	"Referer: http://localhost:8080/some/where?x=1&y=2\r\n" +
	"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n\r\n"

// Close asks the server to close the connection after the answer.
const Close = "GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"
