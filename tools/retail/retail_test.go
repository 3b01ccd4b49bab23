package retail

import (
	"strings"
	"testing"
	"time"
)

const sample = header + `
536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,71053,"LANTERN, ""WHITE""",6,2010-12-01 08:27:00,3.39,17850.0,United Kingdom
C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,14527.0,United Kingdom
536414,22139,,56,2010-12-01 11:52:00,0.0,,United Kingdom
536589,21777,,-10,2010-12-01 16:50:00,0.0,,United Kingdom
A563185,B,Adjust bad debt,1,2011-08-12 14:50:00,11062.06,,United Kingdom
550000,1,SUMMER,1,2011-07-01 10:00:00,1.00,12345.0,Japan
540000,1,EARLIER,1,2011-01-04 10:00:00,1.00,12345.0,Japan
`

func TestReadMakesOneEventPerInvoiceInTimeOrder(t *testing.T) {
	msgs, report, err := Read(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Report{Lines: 8, Invoices: 7, Customers: 3, WithoutCustomer: 3, Cancelled: 1, Other: 2}); report != want {
		t.Errorf("report: got %+v, want %+v", report, want)
	}
	var last time.Time
	byID := map[string]Message{}
	for _, m := range msgs {
		if m.Timestamp.Before(last) {
			t.Errorf("%s at %s comes after %s", m.MessageID, m.Timestamp, last)
		}
		last = m.Timestamp
		byID[m.MessageID] = m
	}
	first := byID["invoice-536365"]
	if first.Properties["total"] != 35.64 || first.Properties["items"] != 12 || first.UserID != "17850" {
		t.Errorf("first invoice: got %+v", first)
	}
	if got := byID["invoice-C536379"]; got.Event != "order_cancelled" || got.Properties["total"] != 27.5 {
		t.Errorf("cancelled invoice: got %+v", got)
	}
	if got := byID["invoice-536414"]; got.AnonymousID != "invoice-536414" || got.UserID != "" {
		t.Errorf("invoice without customer: got %+v", got)
	}
	if got, want := byID["invoice-550000"].Timestamp, time.Date(2011, 7, 1, 9, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("summer time: got %s, want %s", got, want)
	}
	if got := byID["customer-12345"]; got.Traits["timezone"] != "Asia/Tokyo" || !got.Timestamp.Equal(time.Date(2011, 1, 4, 9, 59, 0, 0, time.UTC)) {
		t.Errorf("introduction: got %+v", got)
	}
}

func TestReadSaysWhereTheFileIsWrong(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"empty":    {"", "read the header"},
		"header":   {"a,b,c,d,e,f,g,h\n", "line 1"},
		"quantity": {header + "\n1,2,x,many,2010-12-01 08:26:00,1,2,UK\n", "line 2: Quantity"},
		"price":    {header + "\n1,2,x,1,2010-12-01 08:26:00,cheap,2,UK\n", "line 2: UnitPrice"},
		"time":     {header + "\n1,2,x,1,yesterday,1,2,UK\n", "line 2: InvoiceDate"},
		"columns":  {header + "\n1,2,x\n", "record on line 2"},
	} {
		if _, _, err := Read(strings.NewReader(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func TestConsentIsSharedOutAsDocumented(t *testing.T) {
	counts := map[string]int{}
	for n := range 5000 {
		switch s := share(time.Duration(n).String()); {
		case s < consentGiven:
			counts["given"]++
		case s < consentGiven+consentDenied:
			counts["denied"]++
		default:
			counts["none"]++
		}
	}
	if g := counts["given"]; g < 3900 || g > 4100 {
		t.Errorf("given: got %d of 5000, want about 4000", g)
	}
	if counts["denied"] < 400 || counts["none"] < 400 {
		t.Errorf("denied and none: got %v, want about 500 each", counts)
	}
}
