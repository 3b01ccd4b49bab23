package run

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestOthersAreToldAnAddressThatTheyCanReach(t *testing.T) {
	seen := func() (net.IP, error) { return net.ParseIP("10.1.2.3"), nil }
	unseen := func() (net.IP, error) { return nil, errors.New("the server does not tell") }
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		set, listening string
		seen           func() (net.IP, error)
		want           string
	}{
		{"", "127.0.0.1:7400", seen, "127.0.0.1:7400"},
		{"", "[::]:7400", seen, "10.1.2.3:7400"},
		{"", "0.0.0.0:7400", seen, "10.1.2.3:7400"},
		{"", "[::]:7400", unseen, host + ":7400"},
		{"pod-1.example", "[::]:7400", seen, "pod-1.example:7400"},
		{"fd00::1", "[::]:7400", seen, "[fd00::1]:7400"},
		{"pod-1.example:80", "[::]:7400", seen, "pod-1.example:80"},
	} {
		at, err := net.ResolveTCPAddr("tcp", c.listening)
		if err != nil {
			t.Fatal(err)
		}
		if got := advertised(c.set, at, c.seen); got != c.want {
			t.Errorf("set %q, listening on %s: %s is told, want %s", c.set, c.listening, got, c.want)
		}
	}
}

func TestFailpointsAreReadWithTheirProbability(t *testing.T) {
	got, err := parseFailpoints([]string{"stage.appended=0.5", "stage.applied=1"})
	if err != nil || len(got) != 2 || got["stage.appended"] != 0.5 || got["stage.applied"] != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"stage.appended", "stage.appended=0", "stage.appended=1.1", "stage.appended=x", "=0.5", "stage=0.5", "a.b=NaN"} {
		if _, err := parseFailpoints([]string{bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	if deadly(nil) != nil {
		t.Error("without failpoints there is something to pass")
	}
}

// dieAt, in the environment, is the place at which this test's own child dies.
const dieAt = "REFRAIN_TEST_DIE_AT"

func TestAFailpointKillsTheProcessWithoutAWord(t *testing.T) {
	if name := os.Getenv(dieAt); name != "" {
		points := deadly(map[string]float64{"test.here": 1})
		points.At("test.elsewhere")
		points.At(name)
		os.Exit(0)
	}
	for name, killed := range map[string]bool{"test.here": true, "test.there": false} {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$") //nolint:gosec // this test
		child.Env = append(os.Environ(), dieAt+"="+name)
		out, err := child.CombinedOutput()
		status, _ := child.ProcessState.Sys().(syscall.WaitStatus)
		if got := status.Signaled() && status.Signal() == syscall.SIGKILL; got != killed || len(out) > 0 {
			t.Errorf("at %s: ended with %v, said %q", name, err, out)
		}
	}
}
