package crash

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"refrain.dev/tools/retail"
)

// shopSeed is fixed: every run sees the same shop.
const shopSeed = 20101201

// shop returns the events of a shop of our own making, in the shape of the UCI data and read by the same
// reader: about as many invoices as asked for, over twelve weeks, some cancelled, some without a customer.
// Nothing happens within minutes of an hour at which the workspace's rules change.
func shop(t *testing.T, invoices int) []json.RawMessage {
	t.Helper()
	var file bytes.Buffer
	w := csv.NewWriter(&file)
	write := func(fields ...string) {
		if err := w.Write(fields); err != nil {
			t.Fatal(err)
		}
	}
	write("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
	r := rand.New(rand.NewPCG(shopSeed, 1)) //nolint:gosec // the same shop every time
	countries := []string{"United Kingdom", "United Kingdom", "Germany", "USA", "Japan", "Nowhere"}
	start := time.Date(2010, 12, 1, 0, 0, 0, 0, time.UTC)
	for n := range invoices {
		// A few meet in one second.
		at := start.AddDate(0, 0, n*84/invoices).Add(time.Duration(9+r.IntN(8))*time.Hour +
			time.Duration(5+r.IntN(45))*time.Minute + time.Duration(r.IntN(60)/20*20)*time.Second)
		c := r.IntN(invoices/4 + 1)
		number, customer, quantity := strconv.Itoa(536000+n), strconv.Itoa(12000+c), 1+r.IntN(40)
		switch k := r.IntN(20); {
		case k == 0:
			customer = ""
		case k < 3:
			number, quantity = "C"+number, -quantity
		}
		for range 1 + r.IntN(3) {
			write(number, "S"+strconv.Itoa(r.IntN(100)), "thing", strconv.Itoa(quantity), at.Format(time.DateTime),
				fmt.Sprintf("%.2f", 1+r.Float64()*9), customer, countries[c%len(countries)])
		}
	}
	w.Flush()
	messages, report, err := retail.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]json.RawMessage, len(messages))
	for n, m := range messages {
		if out[n], err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the shop: %d invoices of %d customers, %d events", report.Invoices, report.Customers, len(out))
	return out
}

// idOf is a Segment message's id.
func idOf(t testing.TB, message json.RawMessage) string {
	var m struct {
		MessageID string `json:"messageId"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		t.Fatal(err)
	}
	return m.MessageID
}
