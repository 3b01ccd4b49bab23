package meshsvc

import (
	"context"
	"net"

	"refrain.dev/pkg/run"
)

// doors are the listeners of the process. They are open before the services are built, because services tell others
// where they are: dispatch writes ingest's address into links, decision asks suppression. What knocks meanwhile waits.
type doors struct{ grpc, ingest, admin net.Listener }

func (m *Mesh) openDoors(ctx context.Context) error {
	for _, d := range []struct {
		name, at string
		door     *net.Listener
	}{
		{"grpc", m.cfg.GRPC, &m.doors.grpc}, {"ingest", m.cfg.Ingest.HTTP, &m.doors.ingest}, {"admin", m.cfg.Admin, &m.doors.admin},
	} {
		if d.at == "" {
			continue
		}
		l, err := run.Listen(ctx, d.at)
		if err != nil {
			return err
		}
		*d.door = l
		m.stack.Push("door of "+d.name, func(context.Context) error { _ = l.Close(); return nil }) // who served it has closed it
	}
	return nil
}

// serveDoors answers at those doors that belong to no service.
func (m *Mesh) serveDoors(context.Context) error {
	if l := m.doors.grpc; l != nil {
		m.heardFrom("grpc", l.Addr())
		m.parts = append(m.parts, run.Part{Name: "grpc", Component: run.Func(func(ctx context.Context) error { return m.server.ServeUntil(ctx, l) })})
	}
	if l := m.doors.admin; l != nil {
		m.heardFrom("admin", l.Addr())
		admin := run.NewHTTPServer(run.Admin(m.health, m.telemetry.Metrics), m.logger)
		m.parts = append(m.parts, run.Part{Name: "admin", Component: run.Func(func(ctx context.Context) error {
			return run.ServeHTTP(ctx, admin, l, m.cfg.StopWithin.Std()/4)
		})})
	}
	return nil
}

// reachable is an address at which this machine reaches a listener: one that takes what comes by every address is
// reached by loopback.
func reachable(at net.Addr) string {
	tcp, ok := at.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return at.String()
	}
	return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}).String()
}
