package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"refrain.dev/services/mesh/meshsvc"
)

// printer writes for a person on a terminal, or one JSON line per moment otherwise.
type printer struct {
	out      *os.File
	terminal bool
}

func newPrinter(out *os.File) *printer {
	info, err := out.Stat()
	return &printer{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// sayf prints prose.
func (p *printer) sayf(format string, args ...any) {
	if p.terminal {
		fmt.Fprintf(p.out, format+"\n", args...)
		return
	}
	p.line(map[string]any{"say": strings.TrimSpace(fmt.Sprintf(format, args...))})
}

func (p *printer) moment(m moment) {
	if !p.terminal {
		p.line(m)
		return
	}
	fmt.Fprintf(p.out, "  %s  %-6s %-32s %s\n", m.At.In(london()).Format("Mon 15:04"), m.Who, m.What, m.Why)
}

func (p *printer) total(proposals int, ends []string) {
	if !p.terminal {
		p.line(map[string]any{"proposals": proposals, "ends": ends})
		return
	}
	fmt.Fprintf(p.out, "\n  %d proposals = %s\n", proposals, strings.Join(ends, " + "))
}

func (p *printer) line(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte(err.Error())
	}
	fmt.Fprintln(p.out, string(data))
}

// yourTurn says what to try, with commands that can be pasted.
func (p *printer) yourTurn(m *meshsvc.Mesh, workspace string) {
	http, grpc := m.Addr("ingest-http"), m.Addr("grpc")
	elsewhere := "" // what the CLI must be told if the usual ports were taken
	if usual := meshsvc.Default(); grpc.String() != usual.GRPC || http.String() != usual.Ingest.HTTP || m.Addr("nats").String() != fmt.Sprintf("127.0.0.1:%d", usual.NATSPort) {
		elsewhere = fmt.Sprintf(" --grpc %s --nats nats://%s", grpc, m.Addr("nats"))
	}
	p.sayf(`
Your turn, in another terminal (Ctrl-C here ends it):

  an order:        curl -s -u demo: http://%[1]s/v1/track -H 'Content-Type: application/json' \
                     -d '{"userId":"ann","event":"order_placed","properties":{"order_id":"2001","total":150.0,"items":2,"lines":1,"currency":"GBP","country":"United Kingdom"}}'
  what next?       grpcurl -plaintext -d '{"identifier":{"kind":"user_id","value":"ann"},"placement":"web-banner"}' \
                     %[2]s refrain.decision.v1.DecisionService/NextBestActions
  without grpcurl: go run ./tools/refrain%[4]s decide ann web-banner
  why, why not:    go run ./tools/refrain%[4]s explain --customer ann --placement web-banner
                   go run ./tools/refrain%[4]s timeline ann

  may Ann get another thank-you? Not within thirty days of the last:
                   grpcurl -plaintext -d '{"identifier":{"kind":"user_id","value":"ann"},"contact":{"action":"thank-you","channel":"email","topic":"news"}}' \
                     %[2]s refrain.contact.v1.ContactService/Check
  without grpcurl: go run ./tools/refrain%[4]s check ann thank-you email --topic news
  change one character, apply, and ask again:
                   sed -i 's/max: 1, per: P30D/max: 9, per: P30D/' %[3]s/contact.yaml && go run ./tools/refrain%[4]s apply %[3]s`,
		http, grpc, workspace, elsewhere)
}
