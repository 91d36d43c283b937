package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// scripted answers by the name of the service.
type scripted struct {
	healthpb.UnimplementedHealthServer
}

func (scripted) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	switch r.Service {
	case "hung":
		<-ctx.Done()
		return nil, ctx.Err()
	case "broken":
		return nil, status.Error(codes.Internal, "out of ördër %")
	default:
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_ServingStatus(len(r.Service))}, nil
	}
}

// grpcServer serves on a port until the test ends.
func grpcServer(t testing.TB, h healthpb.HealthServer, opts ...grpc.ServerOption) (host string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	if h != nil {
		healthpb.RegisterHealthServer(s, h)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return hostPort(t, l.Addr().String())
}

func TestAGRPCProbeAsksTheHealthService(t *testing.T) {
	host, port := grpcServer(t, scripted{})
	bareHost, bare := grpcServer(t, nil)
	named := grpchealth.NewServer()
	named.SetServingStatus("db", healthpb.HealthCheckResponse_SERVING)
	namedHost, namedPort := grpcServer(t, named)
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	secureHost, secure := grpcServer(t, named, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: web.TLS.Certificates})))
	plain := httptest.NewServer(nil)
	defer plain.Close()
	plainHost, plainPort := hostPort(t, plain.URL)
	stallHost, stall := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closed := serveNothing(t)

	for _, tt := range []struct {
		name   string
		target GRPCTarget
		want   Outcome
		begins string
	}{
		{"a server that serves", GRPCTarget{Host: host, Port: port, Service: "x"}, Success, ""},
		{"without a service the server is meant", GRPCTarget{Host: namedHost, Port: namedPort}, Success, ""},
		{"a service by name", GRPCTarget{Host: namedHost, Port: namedPort, Service: "db"}, Success, ""},
		{"over TLS", GRPCTarget{Host: secureHost, Port: secure, TLS: true}, Success, ""},
		{"an unknown service", GRPCTarget{Host: namedHost, Port: namedPort, Service: "no"}, Failure, "error: health rpc probe failed: rpc error: code = 5 desc = unknown service"},
		{"a status that was left out", GRPCTarget{Host: host, Port: port}, Failure, `service unhealthy (responded with "UNKNOWN")`},
		{"a service that does not serve", GRPCTarget{Host: host, Port: port, Service: "xx"}, Failure, `service unhealthy (responded with "NOT_SERVING")`},
		{"a status of the future", GRPCTarget{Host: host, Port: port, Service: "xxxxxxx"}, Failure, `service unhealthy (responded with "7")`},
		{"a server that fails", GRPCTarget{Host: host, Port: port, Service: "broken"}, Failure, "error: health rpc probe failed: rpc error: code = 13 desc = out of ördër %"},
		{"a server that hangs", GRPCTarget{Host: host, Port: port, Service: "hung"}, Failure, "timeout: health rpc did not complete within 500ms"},
		{"a socket that only accepts", GRPCTarget{Host: stallHost, Port: stall}, Failure, "timeout: health rpc did not complete within 500ms"},
		{"a server without the health service", GRPCTarget{Host: bareHost, Port: bare}, Failure, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service grpc.health.v1.Health"},
		{"a server of HTTP/1", GRPCTarget{Host: plainHost, Port: plainPort}, Failure, "error: health rpc probe failed: "},
		{"TLS where there is none", GRPCTarget{Host: host, Port: port, TLS: true}, Failure, "error: health rpc probe failed: "},
		{"a closed port", GRPCTarget{Host: "127.0.0.1", Port: closed}, Failure, fmt.Sprintf(`error: failed to connect service at "127.0.0.1:%d": dial tcp`, closed)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, took := within(t, 500*time.Millisecond, GRPC(tt.target))
			if got.Outcome != tt.want || !strings.HasPrefix(got.Message, tt.begins) || (tt.want == Success) != (got.Message == "") {
				t.Errorf("got %+v, want %s %q", got, tt.want, tt.begins)
			}
			if took > 3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// serveNothing returns a port on which nothing listens.
func serveNothing(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port := hostPort(t, l.Addr().String())
	_ = l.Close()
	return port
}
