package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestShow(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"start","Package":"p"}`,
		`{"Action":"run","Package":"p","Test":"TestGood"}`,
		`{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}`,
		`{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:1: chatter\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestGood"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"=== RUN   TestBad\n"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:2: got 1, want 2\n"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestBad"}`,
		`{"Action":"output","Package":"p","Test":"TestSkip","Output":"    a_test.go:3: NOT TESTED: redis is not here\n"}`,
		`{"Action":"output","Package":"p","Test":"TestSkip","Output":"--- SKIP: TestSkip (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestSkip"}`,
		`{"Action":"output","Package":"p","Test":"TestHangs","Output":"    a_test.go:4: still waiting\n"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.01s\n"}`,
		`{"Action":"fail","Package":"p"}`,
		`{"ImportPath":"q","Action":"build-output","Output":"q.go:1: does not compile\n"}`,
		`{"Action":"output","Package":"r","Output":"PASS\n"}`,
		`{"Action":"output","Package":"r","Output":"ok  \tr\t0.01s\n"}`,
		`{"Action":"pass","Package":"r"}`,
		`{"Action":"output","Package":"s","Output":"?   \ts\t[no test files]\n"}`,
		`{"Action":"skip","Package":"s"}`,
		`go: something else`,
	}, "\n")
	want := `=== RUN   TestBad
    a_test.go:2: got 1, want 2
--- FAIL: TestBad (0.00s)
FAIL	p	0.01s
    a_test.go:4: still waiting
q.go:1: does not compile
ok  	r	0.01s
?   	s	[no test files]
go: something else
NOT TESTED:
  p.TestSkip: a_test.go:3: NOT TESTED: redis is not here
`
	var out bytes.Buffer
	if err := show(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
