package sample

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestReadWrite(t *testing.T) {
	want := []Sample{
		{CPU, "isbjorn", 1, X{Head: "hello", Depth: 16, Conns: 64}, map[string]float64{"cpu-us/req": 0.5}},
		{Percentile, "nethttp", 2, X{Rate: 1e4, Quantile: 0.999}, map[string]float64{"latency-us": 812.25}},
	}
	var b bytes.Buffer
	if err := Write(&b, want...); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(&b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Read(strings.NewReader("{}\n{\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("half a line: %v", err)
	}
}
