package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/osteele/liquid"
	"github.com/osteele/liquid/render"

	"refrain.dev/pkg/clock"
)

const (
	maxText    = 256 << 10
	renderTime = time.Second
)

var (
	// errAbort says that the template asked not to be sent.
	errAbort = errors.New("the template asked to abort")
	// errRender says that the template could not be rendered.
	errRender = errors.New("the template cannot be rendered")
	errSize   = errors.New("the text is larger than 256 KiB")
	errTime   = errors.New("rendering takes longer than a second")
)

// renderer renders Liquid without I/O: unknown variables and filters are errors, include is refused, and
// ranges are, so that loops go over data only; output and time are bounded.
type renderer struct {
	clock  clock.Clock
	engine *liquid.Engine
	ranges *regexp.Regexp
}

func newRenderer(c clock.Clock) *renderer {
	e := liquid.NewEngine()
	e.StrictVariables()
	e.RegisterTag("include", func(render.Context) (string, error) { return "", errors.New("include is not allowed") })
	e.RegisterTag("abort", func(render.Context) (string, error) { return "", errAbort })
	return &renderer{clock: c, engine: e, ranges: regexp.MustCompile(`\([^()]*\.\.[^()]*\)`)}
}

// line renders text for a place that takes one line.
func (r *renderer) line(ctx context.Context, source string, vars map[string]any) (string, error) {
	text, err := r.text(ctx, source, vars)
	if err != nil {
		return "", err
	}
	text = strings.TrimRight(text, "\r\n")
	if strings.ContainsAny(text, "\r\n\x00") {
		return "", fmt.Errorf("%w: the subject must be one line", errRender)
	}
	return text, nil
}

// text renders a template. Errors wrap errAbort or errRender.
func (r *renderer) text(ctx context.Context, source string, vars map[string]any) (string, error) {
	if source == "" {
		return "", nil
	}
	if r.ranges.MatchString(source) {
		return "", fmt.Errorf("%w: ranges are not allowed", errRender)
	}
	ctx, cancel := r.clock.Within(ctx, renderTime)
	defer cancel()
	type result struct {
		text string
		err  error
	}
	results, done := make(chan result, 1), make(chan struct{})
	r.clock.Go(func() {
		defer close(done)
		text, err := r.run(ctx, source, vars)
		results <- result{text, err}
	})
	if _, err := r.clock.Wait(ctx, clock.Forever, done); err != nil {
		return "", fmt.Errorf("%w: %w", errRender, errTime)
	}
	got := <-results
	return got.text, got.err
}

func (r *renderer) run(ctx context.Context, source string, vars map[string]any) (text string, err error) {
	defer func() { // the engine panics on some wrong arguments of filters
		if p := recover(); p != nil {
			text, err = "", fmt.Errorf("%w: a filter was used on what it does not take", errRender)
		}
	}()
	template, problem := r.engine.ParseString(source)
	if problem != nil {
		return "", fmt.Errorf("%w: line %d is not valid", errRender, problem.LineNumber())
	}
	out := &bounded{ctx: ctx}
	if problem := template.FRender(out, vars); problem != nil {
		if isAbort(problem) {
			return "", errAbort
		}
		return "", fmt.Errorf("%w: line %d%s", errRender, problem.LineNumber(), missing(problem))
	}
	if out.text.Len() > maxText {
		return "", fmt.Errorf("%w: %w", errRender, errSize)
	}
	return out.text.String(), nil
}

// missing names what is not defined; other causes are left out, they may quote personal data.
func missing(problem liquid.SourceError) string {
	if cause := problem.Cause(); cause != nil && strings.HasPrefix(cause.Error(), "undefined ") {
		return ": " + cause.Error()
	}
	return ""
}

// isAbort looks through the engine's own wrapping, which knows Cause but not Unwrap.
func isAbort(err error) bool {
	for err != nil {
		if errors.Is(err, errAbort) {
			return true
		}
		caused, ok := err.(interface{ Cause() error }) //nolint:errorlint // each layer is looked at in turn
		if !ok {
			return false
		}
		err = caused.Cause()
	}
	return false
}

// bounded stops a rendering that is too large or too slow at its next write.
type bounded struct {
	ctx  context.Context //nolint:containedctx // lives as long as one rendering
	text strings.Builder
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > maxText {
		return 0, errSize
	}
	if b.ctx.Err() != nil {
		return 0, errTime
	}
	return b.text.Write(p) //nolint:wrapcheck // a Builder has no errors
}

var _ io.Writer = (*bounded)(nil)
