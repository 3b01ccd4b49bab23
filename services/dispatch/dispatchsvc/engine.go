package dispatchsvc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

// helpers is how many calls are prepared at once, and how many look-ups are made.
const helpers = 16

// tokenLife is how long a delivery's token is good for: unsubscribing must work for 60 days.
const tokenLife = 62 * 24 * time.Hour

// engine makes the calls that the fold asks for: pace, send, look up. It decides nothing that the state
// machine decides; it finds out.
type engine struct {
	catalogs   Catalogs
	providers  *providers
	freshness  *freshness
	space      *space
	pacing     context.Context //nolint:containedctx // ends when the service begins to stop; calls under way go on
	workers    *clock.Group    // what comes before a delivery waits or is sent
	lookers    *clock.Group    // look-ups
	points     failpoint.Points
	signer     Signer
	clock      clock.Clock // stamps and measures; what is judged by the time of day asks freshness
	generation uint32
	publicURL  string
	identify   bool // tasks for the team say who the customer is
	// stepped says that calls are made in rounds (the replay clock): their results are recorded only when
	// all calls of a round are over, so a paced delivery cannot keep its room until its own call.
	stepped func() bool
	logger  *slog.Logger
	tracer  trace.Tracer
	metrics *metrics
}

// Call implements stage.Caller. What waits for its turn has no goroutine: as many may wait as there are deliveries.
func (e *engine) Call(ctx context.Context, partition int, c stage.Call, done func(any)) {
	ctx = telemetry.Parent(ctx, c.Traceparent)
	switch r := c.Request.(type) {
	case paceRequest:
		e.workers.Go(func() error { e.pace(ctx, turn{partition, r.job, c.Wanted}, done); return nil })
	case sendRequest:
		e.workers.Go(func() error {
			e.send(ctx, partition, r.job, func(result delivery.Result) {
				e.points.At("dispatch.sent")
				e.metrics.result(ctx, r.treatment.GetChannel(), result)
				done(sendResult{proposal: r.proposal.GetId(), result: r.result(result)})
			})
			return nil
		})
	case lookRequest:
		e.lookers.Go(func() error {
			result := r.result(e.lookUp(ctx, r.job))
			e.points.At("dispatch.looked")
			done(sendResult{proposal: r.proposal.GetId(), result: result})
			return nil
		})
	default:
		done(nil)
	}
}

// turn is a delivery that asks for its turn in its channel.
type turn struct {
	partition int
	job       job
	wanted    func() bool
}

// pace lets a delivery wait for room in the channel, no longer than the approval lasts. done is told a paceResult, or
// nil if it was cut off by the end of the service or of the ownership: the next owner paces again.
func (e *engine) pace(ctx context.Context, t turn, done func(any)) {
	j := t.job
	fail := func(r delivery.Result) {
		r = j.result(r)
		e.metrics.result(ctx, j.treatment.GetChannel(), r)
		done(paceResult{proposal: j.proposal.GetId(), attempt: j.attempt, failure: &r})
	}
	p, failure := e.found(ctx, j)
	if failure != nil {
		fail(*failure)
		return
	}
	stepped := e.stepped()
	if stepped { // a round of calls waits for no other
		if failure := e.obstacle(ctx, t.partition, p); failure != nil {
			fail(*failure)
			return
		}
	}
	left := max(j.notAfter.Sub(e.clock.Now()), 0)
	p.queue.enter(e.pacing, &waiter{
		waits: waits{key: j.slot()}, until: e.clock.Elapsed() + left, wanted: t.wanted, unleased: stepped,
		log: func(ctx context.Context) error { return e.room(ctx, t.partition) },
		then: func(err error, why string) {
			switch {
			case err == nil:
				done(paceResult{proposal: j.proposal.GetId(), attempt: j.attempt})
			case errors.Is(err, errLate):
				fail(later(reasonv1.Code_CODE_PROVIDER_THROTTLED, why))
			default:
				done(nil)
			}
		},
	})
}

// obstacle says what keeps every delivery of a channel from being sent.
func (e *engine) obstacle(ctx context.Context, partition int, p *provider) *delivery.Result {
	if wait := p.breaker.remaining(); wait > 0 {
		r := later(reasonv1.Code_CODE_PROVIDER_THROTTLED, leftAlone)
		r.RetryAfter = wait
		return &r
	}
	if e.room(ctx, partition) != nil {
		return new(later(reasonv1.Code_CODE_PROVIDER_THROTTLED, logFull))
	}
	return nil
}

// room says whether the log has room for the report of a send.
func (e *engine) room(ctx context.Context, partition int) error {
	err := e.space.check(ctx, partition)
	if err != nil {
		e.logger.WarnContext(ctx, "no intent is declared", slog.Int(telemetry.KeyPartition, partition), slog.Any(telemetry.KeyError, err))
	}
	return err
}

// found is provider; a panic, such as while an adapter is made, is a failure of the channel.
func (e *engine) found(ctx context.Context, j job) (p *provider, failure *delivery.Result) {
	defer func() {
		if r := recover(); r != nil {
			e.panicked(ctx, "before a send", j, r)
			failure = new(later(reasonv1.Code_CODE_PROVIDER_REJECTED, "a panic; see the log of dispatch"))
		}
	}()
	return e.provider(ctx, j)
}

// slot names the room that a delivery takes up from its pacing to the end of its call.
func (j job) slot() string { return j.key + "/" + j.proposal.GetId() }

// provider finds the channel's provider. What cannot be used now may be mended within the approval.
func (e *engine) provider(ctx context.Context, j job) (*provider, *delivery.Result) {
	d, err := e.definitions(ctx, j)
	if err != nil {
		e.logger.WarnContext(ctx, "catalog cannot be loaded", slog.Any(telemetry.KeyError, err))
		r := later(reasonv1.Code_CODE_PROFILE_UNAVAILABLE, "the catalog is not loaded")
		return nil, &r
	}
	name := j.treatment.GetChannel()
	if d.Channels[name] == nil || d.Channels[name].GetAdapter() == "none" {
		r := unsent(reasonv1.Code_CODE_NO_TREATMENT, "the channel carries nothing")
		return nil, &r
	}
	p, err := e.providers.get(j.tenant, name, d.Channels[name])
	if err != nil {
		e.logger.WarnContext(ctx, "channel cannot be used", slog.String(telemetry.KeyChannel, name), slog.Any(telemetry.KeyError, err))
		r := later(reasonv1.Code_CODE_PROVIDER_REJECTED, "the channel is not set up; see the log of dispatch")
		return nil, &r
	}
	return p, nil
}

// definitions are the tenant's at the revision that a delivery names, which may be another than the one in force.
func (e *engine) definitions(ctx context.Context, j job) (Definitions, error) {
	revision := j.revision
	d, ok := e.catalogs.At(revision, j.tenant)
	if ok {
		return d, nil
	}
	if err := e.catalogs.Prepare(ctx, revision); err != nil {
		return Definitions{}, fmt.Errorf("prepare catalog %s: %w", revision, err)
	}
	if d, ok = e.catalogs.At(revision, j.tenant); !ok {
		return Definitions{}, fault.New(fault.Unavailable, "prepare catalog %s: it is not loaded", revision)
	}
	return d, nil
}

// send makes the last check on a fresh view and the call, when there is room, and tells done what that proves. Room is
// what pacing has leased, as a rule; else it is waited for.
func (e *engine) send(ctx context.Context, partition int, j job, done func(delivery.Result)) {
	p, failure := e.found(ctx, j)
	if failure != nil {
		done(*failure)
		return
	}
	begin := func() {
		e.clock.Go(func() {
			result := e.sendNow(ctx, partition, p, j)
			p.slots.drop(j.slot())
			done(result)
		})
	}
	if p.slots.holds(j.slot()) {
		begin()
		return
	}
	until := clock.Forever
	if !e.stepped() {
		until = e.clock.Elapsed() + aroundCall
	}
	p.queue.enter(e.pacing, &waiter{waits: waits{key: j.slot(), call: true}, until: until, then: func(err error, _ string) {
		if err != nil {
			done(later(reasonv1.Code_CODE_PROVIDER_THROTTLED, noRoom))
			return
		}
		begin()
	}})
}

// sendNow is a send that has its room.
func (e *engine) sendNow(ctx context.Context, partition int, p *provider, j job) (result delivery.Result) {
	ctx, span := e.tracer.Start(ctx, "dispatch.send", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	defer func() {
		if r := recover(); r != nil {
			e.panicked(ctx, "in a send", j, r)
			result = delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
		}
		if result.Status != dispatchv1.Status_STATUS_ACCEPTED {
			span.SetStatus(codes.Error, result.Status.String())
		}
	}()
	ctx, cancel := e.clock.Within(ctx, p.timeout+aroundCall)
	defer cancel()
	message, seen, failure := e.checked(ctx, partition, j)
	if failure == nil {
		failure = new(e.call(ctx, p, message, seen))
	}
	failure.ProfileVersion = seen.profile.GetVersion()
	return *failure
}

// checked makes the last check on a fresh view. A fresh view may still be older than what the approval rests on:
// the log is ahead of the store. So nothing is final that was found on a view from before this began; then it is
// looked at again, on one that has everything that was known by now.
func (e *engine) checked(ctx context.Context, partition int, j job) (m channel.Message, seen view, failure *delivery.Result) {
	defer func() {
		if r := recover(); r != nil { // nothing was called yet
			e.panicked(ctx, "before a send", j, r)
			failure = new(unsent(reasonv1.Code_CODE_RENDER_FAILED, "a panic; see the log of dispatch"))
		}
	}()
	asked := e.clock.Elapsed()
	for _, since := range []time.Duration{anyAge, asked} {
		began := e.clock.Elapsed()
		v, err := e.freshness.profile(ctx, partition, j.key, since)
		e.metrics.fresh.Record(ctx, (e.clock.Elapsed() - began).Seconds())
		if errors.Is(err, errStale) {
			e.logger.DebugContext(ctx, "nothing is sent without a fresh view", slog.Int(telemetry.KeyPartition, partition), slog.Any(telemetry.KeyError, err))
			return m, v, new(later(reasonv1.Code_CODE_STALE_VIEW))
		}
		missing := err != nil || v.profile == nil
		if missing { // who is approved is there, or is on its way: never final
			failure = new(late(later(reasonv1.Code_CODE_PROFILE_UNAVAILABLE, "the profile is not there yet")))
		} else {
			m, failure = e.prepare(ctx, partition, j, v.profile)
		}
		seen = v
		if failure == nil || failure.Transient && !missing || e.freshness.after(v, asked) {
			break
		}
	}
	return m, seen, failure
}

// prepare renders and then makes the last check, so that nothing slow comes between the check and the call; a
// result says why nothing is sent.
func (e *engine) prepare(ctx context.Context, partition int, j job, profile *profilev1.Profile) (channel.Message, *delivery.Result) {
	d, err := e.definitions(ctx, j)
	if err != nil {
		return channel.Message{}, new(later(reasonv1.Code_CODE_PROFILE_UNAVAILABLE, "the catalog is not loaded"))
	}
	m, failure := e.compose(partition, j, d, profile)
	if no := e.lastCheck(j, d, profile); no != nil {
		return m, no
	}
	return m, failure
}

// lastCheck says what stands against the contact now; nil if nothing does.
func (e *engine) lastCheck(j job, d Definitions, profile *profilev1.Profile) *delivery.Result {
	now, err := e.freshness.now()
	if err != nil {
		return new(later(reasonv1.Code_CODE_STALE_VIEW, "the time is not known"))
	}
	if !now.Before(j.notAfter) {
		return new(unsent(reasonv1.Code_CODE_APPROVAL_EXPIRED))
	}
	if now.Sub(j.intentAt) > margin/2 {
		return new(later(reasonv1.Code_CODE_STALE_VIEW, "the intent is too old to act on"))
	}
	if no := d.LastCheck(profile, LastContact{Proposal: j.proposal, Treatment: j.treatment, Now: now}); len(no) > 0 {
		return new(late(delivery.Result{Status: dispatchv1.Status_STATUS_UNSENT, Reasons: no}))
	}
	return nil
}

// compose addresses and renders the message.
func (e *engine) compose(partition int, j job, d Definitions, profile *profilev1.Profile) (channel.Message, *delivery.Result) {
	none := channel.Message{}
	templates := d.Templates(j.proposal.GetAction(), j.treatment.GetId())
	if templates == nil {
		return none, new(unsent(reasonv1.Code_CODE_NO_TREATMENT, "the treatment is not in the catalog any more"))
	}
	m, err := e.message(partition, j, d)
	if err != nil {
		return none, new(unsent(reasonv1.Code_CODE_RENDER_FAILED, "the token cannot be signed"))
	}
	def := d.Channels[m.Channel]
	if m.To == "team" {
		m.Address = def.GetConfig()["to"]
		if e.identify {
			m.Identifiers = identifiersOf(profile, d.Kinds)
		}
	} else if m.Address = d.Address(profile, j.treatment); m.Address == "" && def.GetEndpoint() != "" {
		return none, new(late(unsent(reasonv1.Code_CODE_NO_ENDPOINT)))
	}
	return rendered(m, templates, d.Traits(profile))
}

func (e *engine) message(partition int, j job, d Definitions) (channel.Message, error) {
	now := e.clock.Now()
	token, err := e.signer.Sign(&decisionv1.Token{
		Tenant: j.tenant, Generation: e.generation, Partition: uint32(partition), //nolint:gosec // at most 1024
		Customer: j.customer, Proposal: j.proposal.GetId(), Action: j.proposal.GetAction(),
		Treatment: j.treatment.GetId(), Channel: j.treatment.GetChannel(), Topic: j.treatment.GetTopic(),
		Revision: j.revision, ExpiresAt: timestamppb.New(now.Add(tokenLife)), Journey: j.proposal.GetCause().GetJourney(),
		Step: j.proposal.GetCause().GetStep(), Placement: j.proposal.GetPlacement(),
	})
	if err != nil {
		return channel.Message{}, err //nolint:wrapcheck // the caller has one word for it
	}
	m := channel.Message{
		Proposal: j.proposal.GetId(), Action: j.proposal.GetAction(), Treatment: j.treatment.GetId(),
		Channel: j.treatment.GetChannel(), Purpose: j.proposal.GetPurpose(), Topic: j.treatment.GetTopic(),
		Tenant: j.tenant, Customer: hex.EncodeToString(j.customer), To: j.treatment.GetTo(),
		Context: j.proposal.GetContext(), Token: token, At: now,
	}
	if m.To == "" {
		m.To = "customer"
	}
	if m.Topic != "" {
		m.UnsubscribeURL = e.publicURL + "/u/" + token
		m.ListID = d.Topics[m.Topic].GetListId()
	}
	return m, nil
}

// call is the provider call, through the channel's breaker. Whatever has kept us since the view was read, the
// send begins only while the view is young: that is asked last.
func (e *engine) call(ctx context.Context, p *provider, m channel.Message, seen view) delivery.Result {
	e.points.At("dispatch.checked")
	if _, err := e.freshness.now(); err != nil {
		return later(reasonv1.Code_CODE_STALE_VIEW, "the clock was set before the call")
	}
	if !e.freshness.young(seen) {
		return later(reasonv1.Code_CODE_STALE_VIEW, "the view grew old before the call")
	}
	if !p.breaker.try() {
		r := later(reasonv1.Code_CODE_PROVIDER_THROTTLED, leftAlone)
		r.RetryAfter = p.breaker.remaining()
		return r
	}
	ctx, cancel := e.clock.Within(ctx, p.timeout)
	defer cancel()
	started := e.clock.Elapsed()
	if !e.stepped() {
		e.metrics.age.Record(ctx, (started - seen.asOf).Seconds())
	}
	r := e.attempt(ctx, p, m)
	e.metrics.called(ctx, m.Channel, r, e.clock.Elapsed()-started)
	if r.Status == dispatchv1.Status_STATUS_UNKNOWN || (r.Transient && r.RetryAfter == 0) {
		p.breaker.failed()
	} else {
		p.breaker.succeeded()
	}
	return r
}

// attempt is the adapter's turn. One that panics may have sent.
func (e *engine) attempt(ctx context.Context, p *provider, m channel.Message) (result delivery.Result) {
	defer func() {
		if r := recover(); r != nil {
			e.panicked(ctx, "in a send", job{treatment: &decisionv1.TreatmentRef{Channel: m.Channel}}, r)
			result = delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN, Reasons: []*reasonv1.Reason{{
				Code: reasonv1.Code_CODE_PROVIDER_REJECTED, Evidence: []string{"the adapter panicked; see the log of dispatch"},
			}}}
		}
	}()
	return p.adapter.Send(ctx, m)
}

// panicked says what panicked. The value may hold personal data, so only its kind is told, and where.
func (e *engine) panicked(ctx context.Context, where string, j job, value any) {
	e.logger.ErrorContext(ctx, "dispatch panicked", slog.String("where", where), slog.String(telemetry.KeyChannel, j.treatment.GetChannel()),
		slog.String("panic", fmt.Sprintf("%T", value)), slog.String("stack", string(debug.Stack())))
}

// lookUp asks what became of an attempt. What cannot be found out is UNKNOWN.
func (e *engine) lookUp(ctx context.Context, j job) (result delivery.Result) {
	defer func() {
		if r := recover(); r != nil {
			e.panicked(ctx, "in a look-up", j, r)
			result = delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
		}
	}()
	if err := e.catalogs.Prepare(ctx, j.revision); err != nil {
		e.logger.WarnContext(ctx, "look-up failed", slog.String(telemetry.KeyChannel, j.treatment.GetChannel()), slog.Any(telemetry.KeyError, err))
	}
	p, failure := e.provider(ctx, j)
	if failure == nil {
		if looker, ok := p.adapter.(channel.Looker); ok {
			ctx, cancel := e.clock.Within(ctx, p.timeout)
			defer cancel()
			r, err := looker.LookUp(ctx, j.proposal.GetId())
			if err == nil {
				r.Again = r.Transient
				return r
			}
			e.logger.WarnContext(ctx, "look-up failed", slog.String(telemetry.KeyChannel, j.treatment.GetChannel()), slog.Any(telemetry.KeyError, err))
		}
	}
	return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
}

// unsent is final, later is tried again.
func unsent(code reasonv1.Code, evidence ...string) delivery.Result {
	return delivery.Result{
		Status: dispatchv1.Status_STATUS_UNSENT, Reasons: []*reasonv1.Reason{{Code: code, Evidence: evidence}},
	}
}

func later(code reasonv1.Code, evidence ...string) delivery.Result {
	r := unsent(code, evidence...)
	r.Transient = true
	return r
}

// late marks a result as the last check's.
func late(r delivery.Result) delivery.Result {
	r.Reasons = append([]*reasonv1.Reason{{Code: reasonv1.Code_CODE_LATE_BLOCK}}, r.Reasons...)
	return r
}

var _ stage.Caller = (*engine)(nil)
