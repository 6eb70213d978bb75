package apps

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

type order struct {
	ID    int    `param:"id" json:"id"`
	Query string `query:"q" json:"q"`
	Item  string `json:"item" form:"item"`
}

// echoApp is a service of orders.
func echoApp(dir string) http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	e.Pre(middleware.Rewrite(map[string]string{"/old/*": "/api/orders/$1"}))
	e.Use(
		middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{LogStatus: true, LogValuesFunc: func(echo.Context, middleware.RequestLoggerValues) error { return nil }}),
		middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}),
		middleware.RequestIDWithConfig(middleware.RequestIDConfig{Generator: func() string { return "generated" }}),
		middleware.CORSWithConfig(middleware.CORSConfig{AllowOrigins: []string{"https://example.com"}, AllowCredentials: true, MaxAge: 60}),
		middleware.Secure(),
		middleware.BodyLimit("100K"),
		middleware.GzipWithConfig(middleware.GzipConfig{MinLength: 100}),
		middleware.ContextTimeoutWithConfig(middleware.ContextTimeoutConfig{Timeout: time.Millisecond, Skipper: func(c echo.Context) bool { return c.Path() != "/slow" }}),
	)
	api := e.Group("/api")
	api.POST("/orders/:id", func(c echo.Context) error {
		var o order
		if err := c.Bind(&o); err != nil {
			return err
		}
		return c.JSON(http.StatusCreated, o)
	})
	api.GET("/orders/:id", func(c echo.Context) error {
		var o order
		if err := c.Bind(&o); err != nil {
			return err
		}
		return c.JSONPretty(http.StatusOK, o, "  ")
	})
	api.DELETE("/orders/:id", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
	keyed := e.Group("/keyed", middleware.KeyAuth(func(key string, _ echo.Context) (bool, error) { return key == "secret", nil }))
	keyed.GET("", func(c echo.Context) error { return c.HTML(http.StatusOK, "<p>keyed") })
	e.GET("/lines", func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		c.Response().WriteHeader(http.StatusOK)
		enc := json.NewEncoder(c.Response())
		for i := range 3 {
			if err := enc.Encode(order{ID: i}); err != nil {
				return err
			}
			c.Response().Flush()
		}
		return nil
	})
	e.GET("/stream", func(c echo.Context) error {
		return c.Stream(http.StatusOK, "text/plain", strings.NewReader(large))
	})
	e.GET("/text", func(c echo.Context) error { return c.String(http.StatusOK, large) })
	e.GET("/file", func(c echo.Context) error { return c.File(filepath.Join(dir, "page.txt")) })
	e.GET("/attachment", func(c echo.Context) error { return c.Attachment(filepath.Join(dir, "page.txt"), "a \"b\".txt") })
	e.Static("/static", dir)
	e.GET("/moved", func(c echo.Context) error { return c.Redirect(http.StatusMovedPermanently, "/text") })
	e.GET("/teapot", func(echo.Context) error { return echo.NewHTTPError(http.StatusTeapot, "short and stout") })
	e.GET("/error", func(echo.Context) error { return io.ErrUnexpectedEOF })
	e.GET("/panic", func(echo.Context) error { panic("broken") })
	e.GET("/slow", func(c echo.Context) error {
		<-c.Request().Context().Done()
		return c.Request().Context().Err()
	})
	e.POST("/form", func(c echo.Context) error {
		f, err := c.FormFile("file")
		if err != nil {
			return err
		}
		return c.JSONBlob(http.StatusOK, []byte(`{"file":"`+f.Filename+`"}`))
	})
	e.GET("/hooks", func(c echo.Context) error {
		c.Response().Before(func() { c.Response().Header().Set("X-Before", "1") })
		c.SetCookie(&http.Cookie{Name: "a", Value: "b c", HttpOnly: true})
		return c.String(http.StatusOK, c.Scheme()+" "+c.RealIP()+" "+c.QueryParam("q"))
	})
	return e
}

func TestEcho(t *testing.T) {
	dir := tree(t, map[string]string{"page.txt": large, "index.html": "<p>index"})
	same(t, only(echoApp(dir)), []request{
		{method: "POST", target: "/api/orders/7", header: asJSON, body: `{"item":"fish"}`},
		{name: "form", method: "POST", target: "/api/orders/7", header: asForm, body: "item=fish"},
		{name: "bad JSON", method: "POST", target: "/api/orders/7", header: asJSON, body: `{"item":5}`},
		{name: "no type", method: "POST", target: "/api/orders/7", body: "fish"},
		{name: "too large", method: "POST", target: "/api/orders/7", header: asJSON, body: `{"item":"` + large + large + `"}`},
		{target: "/api/orders/7?q=x"},
		{target: "/api/orders/seven"},
		{method: "DELETE", target: "/api/orders/7"},
		{name: "not allowed", method: "PUT", target: "/api/orders/7"},
		{name: "not found", target: "/none"},
		{target: "/keyed"},
		{name: "authorized", target: "/keyed", header: "Authorization: Bearer secret"},
		{name: "wrong key", target: "/keyed", header: "Authorization: Bearer x"},
		{name: "preflight", method: "OPTIONS", target: "/api/orders/7", header: "Origin: https://example.com\nAccess-Control-Request-Method: PUT"},
		{name: "origin", target: "/hooks", header: "Origin: https://example.com"},
		{name: "request id", target: "/hooks", header: "X-Request-ID: mine"},
		{target: "/lines"},
		{name: "lines, compressed", target: "/lines", header: "Accept-Encoding: gzip"},
		{target: "/stream"},
		{name: "stream, compressed", target: "/stream", header: "Accept-Encoding: gzip"},
		{target: "/text"},
		{name: "too short to compress", target: "/teapot", header: "Accept-Encoding: gzip"},
		{target: "/file"},
		{name: "range", target: "/file", header: "Range: bytes=5-9"},
		{target: "/attachment"},
		{target: "/static/"},
		{target: "/static"},
		{target: "/static/none"},
		{target: "/static/../page.txt"},
		{target: "/moved"},
		{target: "/teapot"},
		{target: "/error"},
		{target: "/panic"},
		{target: "/slow"},
		{name: "rewritten", target: "/old/7?q=x"},
		{name: "file in a form", method: "POST", target: "/form", header: asFile, body: form(`name="file"; filename="a.txt"`, "first")},
		{name: "no file in a form", method: "POST", target: "/form", header: asFile, body: form(`name="x"`, "first")},
	})
}
