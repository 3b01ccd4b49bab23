package meshsvc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/config"
)

// tenant is one of two in a mesh, as its publishers and apps see it.
type tenant struct {
	*running

	name, key string
}

func twoTenants(c *Config) {
	c.Ingest.WriteKeys = map[string]config.Secret{"default": "key", "bank": "bank-key"}
}

// badge gives ann an identifier of a kind that only the bank defines, and returns why it was set aside, if it was.
func (x tenant) badge(message string) (why string) {
	x.t.Helper()
	badge := object{"type": "badge", "id": "B-17", "collection": "users"}
	code, a := x.says("identify", object{"userId": "ann", "messageId": message, "context": object{"externalIds": []object{badge}}})
	if code != http.StatusOK || len(a.Remarks) > 1 {
		x.t.Fatalf("%s: answered %d %+v", x.name, code, a)
	}
	for _, remark := range a.Remarks {
		why = remark.Why
	}
	return why
}

// says sends one Segment call with the tenant's write key.
func (x tenant) says(kind string, body object) (int, answer) {
	x.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		x.t.Fatal(err)
	}
	return x.post("/v1/"+kind, data, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(x.key+":")))
}

// tells is says, and wants it accepted.
func (x tenant) tells(kind string, body object) {
	x.t.Helper()
	if code, a := x.says(kind, body); code != http.StatusOK || len(a.Refused) > 0 || len(a.Positions) != 1 {
		x.t.Fatalf("%s %s %v: answered %d %+v", x.name, kind, body, code, a)
	}
}

func (x tenant) order(user, message string) {
	x.t.Helper()
	x.tells("track", object{"userId": user, "messageId": message, "event": "order_placed", "properties": object{"order_id": message}})
}

// ended waits for n proposals of a customer that ended in a way.
func (x tenant) ended(who, how string, n int) []*profilev1.TimelineEntry {
	x.t.Helper()
	var all, found []*profilev1.TimelineEntry
	defer func() {
		if x.t.Failed() {
			x.t.Logf("timeline of %s of %s:\n%s", who, x.name, story(all))
		}
	}()
	x.eventually(x.name+": "+who+" "+how, func() bool {
		resp, err := x.profiles.ListTimeline(x.t.Context(), &profilev1.ListTimelineRequest{Tenant: x.name, Identifier: user(who), Limit: 200})
		all = resp.GetEntries()
		found = happened(all, how)
		return err == nil && len(found) >= n
	})
	if len(found) != n {
		x.t.Fatalf("%s: %d × %s for %s, want %d", x.name, len(found), how, who, n)
	}
	return found
}

// revision of the definitions by which a customer is decided; "" while there are none.
func (x tenant) revision(who, placement string) string {
	resp, err := x.decisions.NextBestActions(x.t.Context(), &decisionv1.NextBestActionsRequest{Tenant: x.name, Identifier: user(who), Placement: placement})
	if err != nil && status.Code(err) != codes.NotFound {
		x.t.Fatalf("%s: next best actions: %v", x.name, err)
	}
	return resp.GetRevision()
}

func (x tenant) profileOf(kind, value string) (*profilev1.Profile, error) {
	resp, err := x.profiles.GetProfile(x.t.Context(), &profilev1.GetProfileRequest{
		Tenant: x.name, Identifier: &eventv1.Identifier{Kind: kind, Value: value},
	})
	return resp.GetProfile(), err
}

// introduce makes somebody known with an address and permission, under the tenant's own names.
func (x tenant) introduce(user, address, topic string, ids ...object) {
	x.t.Helper()
	about := object{"userId": user, "messageId": "identify-" + user, "traits": object{"email": address}}
	if len(ids) > 0 {
		about["context"] = object{"externalIds": ids}
	}
	x.tells("identify", about)
	x.tells("track", object{
		"userId": user, "messageId": "consent-" + user, "event": "consent_given",
		"properties": object{"channel": "email", "topic": topic, "basis": "opt_in"},
	})
}

// Two tenants in one mesh, the second added while the first works: other identifier kinds, journeys and caps, and the
// same customer id, message ids, channel and policy names in both. Nothing of one is ever seen in the other.
func TestTwoTenantsInOneMesh(t *testing.T) {
	r := start(t, words{"CAP": "1"}, twoTenants)
	shop, bank := tenant{r, "default", "key"}, tenant{r, "bank", "bank-key"}

	shop.introduce("ann", "ann@shop.example", "news")
	shop.order("ann", "order-1")
	shop.ended("ann", "contact_sent", 1)
	first := shop.revision("ann", "web-banner")

	// A tenant without definitions gets what everybody gets before any are applied: profiles, and no decision.
	bank.introduce("ann", "ann@bank.example", "letters")
	bank.order("ann", "order-0")
	r.eventually("the bank's customer is known", func() bool { p, err := bank.profileOf("user_id", "ann"); return err == nil && p.GetVersion() > 0 })
	if got := bank.revision("ann", "web-banner"); got != "" {
		t.Fatalf("the bank's customer is decided by %s, and the bank has no definitions", got)
	}
	if why := bank.badge("early"); why == "" {
		t.Fatal("the bank's badge is taken, and nobody has defined that kind")
	}

	revision, err := r.Apply(t.Context(), filepath.Join("testdata", "bank"))
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("the bank's definitions apply to its customers", func() bool { return bank.revision("ann", "counter") == revision })
	tries := 0
	r.eventually("the bank's identifier kinds are taken", func() bool {
		tries++
		return bank.badge(fmt.Sprint("badge-", tries)) == ""
	})
	if got := shop.revision("ann", "web-banner"); got != first {
		t.Fatalf("the shop's customers are decided by %q, and the shop applied %q", got, first)
	}
	if why := shop.badge("badge-1"); why == "" {
		t.Error("the shop takes the bank's kind of identifier")
	}

	// The same message ids of the same customer id, and of another customer of the same tenant, are events of their own.
	bank.order("ann", "order-1")
	bank.ended("ann", "contact_sent", 1)
	bank.order("ann", "order-2")
	bank.ended("ann", "contact_sent", 2)
	bank.order("ann", "order-3")
	bank.capped("ann", revision)
	shop.introduce("bob", "bob@shop.example", "news")
	shop.order("bob", "order-1")
	shop.ended("bob", "contact_sent", 1)
	shop.order("ann", "order-2")
	shop.capped("ann", first)

	checkApart(shop, bank)

	// What the one applies again leaves the other its own.
	again, err := r.Apply(t.Context(), workspace(t, t.TempDir(), words{"CAP": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("the shop's new policy applies", func() bool { return shop.revision("ann", "web-banner") == again })
	shop.order("ann", "order-4")
	shop.ended("ann", "contact_sent", 2)
	if got := bank.revision("ann", "counter"); got != revision {
		t.Errorf("the bank's customers are decided by %q, and the bank applied %q", got, revision)
	}
}

// capped wants a customer's last order suppressed by the tenant's own cap.
func (x tenant) capped(user, revision string) {
	x.t.Helper()
	lines := x.ended(user, "contact_suppressed", 1)
	reason := lines[0].GetReasons()[0]
	if reason.GetCode() != reasonv1.Code_CODE_CAP_REACHED || reason.GetRevision() != revision {
		x.t.Errorf("%s: suppressed for %v, want CAP_REACHED of revision %s", x.name, lines[0].GetReasons(), revision)
	}
}

func checkApart(shop, bank tenant) {
	t := shop.t
	t.Helper()
	wrote := func(channel string) (out []string) {
		for _, l := range shop.lines(channel) {
			out = append(out, l.Address+": "+l.Subject)
		}
		slices.Sort(out)
		return out
	}
	if got, want := wrote("email"), []string{"ann@shop.example: Grüße zu order-1", "bob@shop.example: Grüße zu order-1"}; !slices.Equal(got, want) {
		t.Errorf("the shop wrote %q, want %q", got, want)
	}
	if got, want := wrote("bank/email"), []string{"ann@bank.example: The bank about order-1", "ann@bank.example: The bank about order-2"}; !slices.Equal(got, want) {
		t.Errorf("the bank wrote %q, want %q", got, want)
	}
	p, err := bank.profileOf("badge", "b-17")
	if err != nil || trait(p, "transfers") != "3" || trait(p, "orders") != "" {
		t.Errorf("the bank's customer by its badge: %v, %v", p, err)
	}
	p, err = shop.profileOf("user_id", "ann")
	if err != nil || trait(p, "orders") != "2" || trait(p, "transfers") != "" {
		t.Errorf("the shop's customer: %v, %v", p, err)
	}
	if _, err := shop.profileOf("badge", "b-17"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the bank's identifier in the shop: %v", err)
	}
	check := func(x tenant, action string) codes.Code {
		_, err := x.contacts.Check(t.Context(), &contactv1.CheckRequest{Tenant: x.name, Identifier: user("ann"), Contact: &contactv1.Contact{Action: action, Channel: "email"}})
		return status.Code(err)
	}
	for _, tt := range []struct {
		x      tenant
		action string
		want   codes.Code
	}{{shop, "thanks", codes.OK}, {shop, "letter", codes.InvalidArgument}, {bank, "letter", codes.OK}, {bank, "thanks", codes.InvalidArgument}} {
		if got := check(tt.x, tt.action); got != tt.want {
			t.Errorf("%s asks about %s: %s, want %s", tt.x.name, tt.action, got, tt.want)
		}
	}
	for _, x := range []tenant{shop, bank} {
		res, err := x.sends.ListDeliveries(t.Context(), &dispatchv1.ListDeliveriesRequest{Tenant: x.name, Identifier: user("ann")})
		if want := map[string]int{"default": 1, "bank": 2}[x.name]; err != nil || len(res.GetDeliveries()) != want {
			t.Errorf("%s lists %d deliveries, %v; want %d", x.name, len(res.GetDeliveries()), err, want)
		}
	}
}
