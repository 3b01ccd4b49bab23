package decisionsvc

import (
	"context"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// defaultTenant is meant by an empty tenant.
const defaultTenant = "default"

// server is DecisionService over the engine. Requests are validated by the contract's rules in front of it,
// and errors get their codes from their kinds.
type server struct {
	decisionv1.UnimplementedDecisionServiceServer

	engine *engine
}

// NextBestActions implements decisionv1.DecisionServiceServer.
func (s *server) NextBestActions(ctx context.Context, req *decisionv1.NextBestActionsRequest) (*decisionv1.NextBestActionsResponse, error) {
	return s.engine.next(ctx, req)
}

// Explain implements decisionv1.DecisionServiceServer.
func (s *server) Explain(ctx context.Context, req *decisionv1.ExplainRequest) (*decisionv1.ExplainResponse, error) {
	return s.engine.explain(ctx, req)
}

func tenantOf(tenant string) string {
	if tenant == "" {
		return defaultTenant
	}
	return tenant
}
