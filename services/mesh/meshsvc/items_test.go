package meshsvc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// basket is a mail about an order's items, sent an hour's wait later than the order, so that they have to travel.
const basket = `apiVersion: refrain/v1
kind: Event
metadata: {name: basket_ordered}
spec: {properties: {number: string, items: any, unused: string}}
---
apiVersion: refrain/v1
kind: Action
metadata: {name: receipt}
spec:
  purpose: transactional
  treatments:
  - id: mail
    channel: email
    subject: "Order {{ event.number }}: {{ event.items | size }} items"
    body: {text: "{% for i in event.items %}{{ i.quantity }} x {{ i.name }} {{ i.price }}|{% endfor %}"}
---
apiVersion: refrain/v1
kind: Journey
metadata: {name: receipt}
spec:
  entry: {event: basket_ordered}
  key: event.number
  reentry: always
  steps:
  - {id: moment, wait: PT1S}
  - {id: tell, action: receipt, until: P1D}
`

// Event properties over a kibibyte reach the mail whole, through every service; what is too large is refused before
// anything is sent, and the timeline says why.
func TestAnOrderOfEightItemsIsInTheMailWhole(t *testing.T) {
	r := start(t, nil)
	dir := workspace(t, t.TempDir(), nil)
	if err := os.WriteFile(filepath.Join(dir, "basket.yaml"), []byte(basket), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	r.customer("ann")
	var items []object
	var want strings.Builder
	for n := range 8 {
		name := fmt.Sprintf("A teapot of the kind number %d %s", n, strings.Repeat("with a long name ", 12))
		items = append(items, object{"name": name, "quantity": n + 1, "price": 19.5, "sku": strings.Repeat("s", 40)})
		fmt.Fprintf(&want, "%d x %s 19.5|", n+1, name)
	}
	r.call("track", object{"userId": "ann", "messageId": "b1", "event": "basket_ordered", "properties": object{
		"number": "B-1", "items": items, "unused": strings.Repeat("u", 4000),
	}})
	r.waitFor(user("ann"), "delivery_accepted", 1)
	mail := r.lines("email")[0]
	if mail.Subject != "Order B-1: 8 items" || mail.Body != want.String() {
		t.Errorf("the mail is %q\n%s\nwant\n%s", mail.Subject, mail.Body, want.String())
	}
	if want.Len() < 1500 {
		t.Errorf("the items have %d bytes, too few to prove anything", want.Len())
	}

	for range 60 {
		items = append(items, items[0])
	}
	r.call("track", object{"userId": "ann", "messageId": "b2", "event": "basket_ordered", "properties": object{"number": "B-2", "items": items}})
	no := r.waitFor(user("ann"), "entry_refused", 1)[0]
	if text := no.GetReasons()[0].String(); no.GetSubject() != "receipt" || !strings.Contains(text, "CODE_EVENT_TOO_LARGE") || !strings.Contains(text, "items") {
		t.Errorf("an order that is too large: %v", no)
	}
	if n := len(r.lines("email")); n != 1 {
		t.Errorf("%d mails, want the first", n)
	}
}
