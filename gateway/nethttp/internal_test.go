package nethttp

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// checkTarget compares parseTarget with url.ParseRequestURI.
func checkTarget(t *testing.T, target string) {
	t.Helper()
	var got url.URL
	err := parseTarget(&got, target)
	want, wantErr := url.ParseRequestURI(target)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("%q: %v; want %v", target, err, wantErr)
	}
	if err == nil && wantErr == nil && !reflect.DeepEqual(got, *want) {
		t.Errorf("%q: %#v\nwant %#v", target, got, *want)
	}
}

// targets are beginnings, to which a test adds all bytes.
var targets = []string{"", "/", "/a", "/a?", "/a?b", "/?", "/a??", "//a", "//a/b?c", "/a%20", "/%", "/a?%zz", "*", "http://h", "http://h/a?b", "/a/../b", "/a;b", "/\u00e4", "a:b", "?a"}

func TestTarget(t *testing.T) {
	for _, target := range targets {
		checkTarget(t, target)
		for c := range 256 {
			checkTarget(t, target+string([]byte{byte(c)}))
			checkTarget(t, target+string([]byte{byte(c)})+"x?")
		}
	}
	for _, c := range []byte("abcxyzABCXYZ0123456789-_.~/$&+:=@") { // those of most paths take the short way
		if !plainPathByte[c] {
			t.Errorf("%q is not plain", c)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, target := range targets {
		f.Add(target)
	}
	f.Fuzz(checkTarget)
}

// Every name of the table is found, in any case, and no other.
func TestFieldNames(t *testing.T) {
	n := 0
	for i := range fieldNames {
		f := &fieldNames[i]
		if f.key == "" {
			continue
		}
		n++
		if http.CanonicalHeaderKey(f.key) != f.key {
			t.Errorf("%s is not canonical", f.key)
		}
		if amends := f.key == "Connection" || f.key == "Pragma" || f.key == "Transfer-Encoding"; f.special != amends {
			t.Errorf("%s amends: %t", f.key, f.special)
		}
		for _, name := range []string{f.key, strings.ToLower(f.key), strings.ToUpper(f.key)} {
			if lookupName(name) != f {
				t.Errorf("%s is not found", name)
			}
		}
		for _, name := range []string{f.key + "x", "x" + f.key, f.key[1:], "_" + f.key[1:]} {
			if name != "" && name != "E" && lookupName(name).key != "" && !strings.EqualFold(lookupName(name).key, name) {
				t.Errorf("%s is taken for %s", name, lookupName(name).key)
			}
		}
	}
	if n < 50 || n > len(fieldNames)/2 {
		t.Errorf("%d names", n)
	}
}
