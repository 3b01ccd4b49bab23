package definition_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/definition/definitiontest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func render(list []definition.Diagnostic) string {
	var b strings.Builder
	for _, d := range list {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}

func TestBadDirectories(t *testing.T) {
	definitiontest.Each(t, "testdata/bad/*.txtar", func(t *testing.T, a definitiontest.Archive) {
		_, list := definition.Load(a.FS())
		if !definition.HasErrors(list) {
			t.Error("no error")
		}
		a.Golden(t, update, render(list))
	})
}

func TestGoodDirectories(t *testing.T) {
	definitiontest.Each(t, "testdata/good/*.txtar", func(t *testing.T, a definitiontest.Archive) {
		source, list := definition.Load(a.FS())
		if len(list) != 0 {
			t.Fatalf("got diagnostics:\n%s", render(list))
		}
		b := source.Bundle()
		if got := definition.Revision(b); got != b.GetRevision() || len(got) != 12 {
			t.Errorf("revision is %s, and of the bundle %s", b.GetRevision(), got)
		}
		// prototext varies its spaces on purpose; one space is enough here.
		var lines strings.Builder
		for line := range strings.Lines(prototext.MarshalOptions{Multiline: true, Indent: " "}.Format(b)) {
			lines.WriteString(strings.Replace(line, ":  ", ": ", 1))
		}
		a.Golden(t, update, lines.String())
	})
}

func topic(name, comment string) string {
	return comment + "apiVersion: refrain/v1\nkind: Topic\nmetadata: {name: " + name + ", labels: {b: x, a: y, c: z}}\nspec: {title: T}\n"
}

func load(t *testing.T, files map[string]string) *definition.Source {
	t.Helper()
	source, list := definition.Load(definitiontest.FS(files))
	if len(list) != 0 {
		t.Fatalf("got diagnostics:\n%s", render(list))
	}
	return source
}

func TestBundleIsCanonical(t *testing.T) {
	one := load(t, map[string]string{"a.yaml": topic("x", "") + "---\n" + topic("y", "")}).Bundle()
	again := load(t, map[string]string{"a.yaml": topic("x", "") + "---\n" + topic("y", "")}).Bundle()
	if !bytes.Equal(definition.Marshal(one), definition.Marshal(again)) {
		t.Error("equal directories give different bytes")
	}
	var back definitionv1.Bundle
	if err := proto.Unmarshal(definition.Marshal(one), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, &back, protocmp.Transform()); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
	other := load(t, map[string]string{"a.yaml": topic("x", "") + "---\n" + topic("z", "")}).Bundle()
	if one.GetRevision() == other.GetRevision() {
		t.Error("different directories give the same revision")
	}
}

func TestLocateAndPlace(t *testing.T) {
	const text = `# a journey
apiVersion: refrain/v1
kind: Journey
metadata: {name: j}
spec:
  entry: {event: signup}
  steps:
  - id: a
    branch:
    - when: traits.x
      steps: [{id: b, wait: P1D}]
`
	source := load(t, map[string]string{"dir/j.yaml": text})
	r := source.Bundle().GetResources()[0]
	for path, want := range map[string][2]int{
		"spec.steps[0].branch[0].when":          {10, 13},
		"spec.steps[0].branch[0].steps[0].wait": {11, 29},
		"spec.steps[0].branch[0].nothing[3].at": {10, 7},
		"spec.reentry":                          {6, 3},
		`metadata.labels["goal"]`:               {4, 11},
		"":                                      {2, 1},
		"somewhere.else":                        {2, 1},
	} {
		if file, line, col := source.Locate(path, r); file != "dir/j.yaml" || line != want[0] || col != want[1] {
			t.Errorf("%q: got %s:%d:%d; want %v", path, file, line, col, want)
		}
	}
	about := definition.About(r, definition.Problem{Path: "spec.entry.event", What: "no such event", Why: "declare it"}, definition.Warning)
	if got, want := about.String(), "dir/j.yaml:2: warning: spec.entry.event: no such event (declare it)"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	placed := source.Place([]definition.Diagnostic{about, about})
	if got, want := render(placed), "dir/j.yaml:6:18: warning: spec.entry.event: no such event (declare it)\n"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestBrokenResourcesAreNotReportedTwice(t *testing.T) {
	source, list := definition.Load(definitiontest.FS(map[string]string{"a.yaml": strings.Replace(topic("x", ""), "title", "titel", 1)}))
	if len(list) != 1 {
		t.Fatalf("got diagnostics:\n%s", render(list))
	}
	follow := definition.About(source.Bundle().GetResources()[0], definition.Problem{What: "no title"}, definition.Error)
	if got := source.Place([]definition.Diagnostic{follow}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestLimits(t *testing.T) {
	large := strings.Repeat("# comment\n", definition.MaxFileSize/10+1)
	many := strings.Repeat(topic("x", "---\n"), definition.MaxDocuments+1)
	files := map[string]string{}
	for i := range definition.MaxFiles + 1 {
		files[strings.Repeat("a", 1+i%50)+string(rune('a'+i/50%26))+string(rune('a'+i/1300))+".yaml"] = ""
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"large file":     {map[string]string{"a.yaml": large}, "a.yaml: cannot be read (it is larger than 256 KiB)"},
		"many documents": {map[string]string{"a.yaml": many}, "too many documents (500 are allowed in a file)"},
		"many files":     {files, "the directory cannot be read (more than 2000 files)"},
		"deep brackets":  {map[string]string{"a.yaml": strings.Repeat("[", 20000)}, "a.yaml:1:1: not valid YAML (exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, list := definition.Load(definitiontest.FS(tc.files))
			if got := render(list); !strings.Contains(got, tc.want) {
				t.Errorf("got:\n%.500s\nwant %s", got, tc.want)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, text, _ := strings.Cut(string(data), " --\n")
		text, _, _ = strings.Cut(text, "-- want --\n")
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dir := fstest.MapFS{"a.yaml": {Data: []byte(text)}}
		source, list := definition.Load(dir)
		for _, d := range list {
			if d.Line < 0 || d.What == "" {
				t.Errorf("a diagnostic without content: %+v", d)
			}
		}
		if definition.HasErrors(list) {
			return
		}
		b := source.Bundle()
		var back definitionv1.Bundle
		if err := proto.Unmarshal(definition.Marshal(b), &back); err != nil || !proto.Equal(b, &back) {
			t.Errorf("the bundle does not survive a round trip: %v", err)
		}
	})
}
