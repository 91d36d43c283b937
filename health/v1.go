package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// PeriodAnnotation on a pod is the period of all its probes in milliseconds, in place of periodSeconds, whose least is
	// one second (kubernetes #38778).
	PeriodAnnotation = "agent.edgepod.dev/probe-period-ms"
	// minPeriod is the shortest period of the annotation: a typing error must not become a flood.
	minPeriod = 10 * time.Millisecond
	maxPeriod = time.Hour
)

// Place is what the probes and handlers of a container need to know of where it runs.
type Place struct {
	PodIP string // default for the host
	Ports []v1.ContainerPort
	Exec  Exec
	Dial  Dial // nil: from the host's network namespace
	// Expand replaces $(NAME) in one word of a probe's command by the container's environment; nil changes nothing.
	Expand func(string) string
	// Period replaces periodSeconds of every probe when it is not zero (PeriodOverride).
	Period time.Duration
}

// PeriodOverride reads PeriodAnnotation; zero when it is absent.
func PeriodOverride(annotations map[string]string) (time.Duration, error) {
	text, ok := annotations[PeriodAnnotation]
	if !ok {
		return 0, nil
	}
	ms, err := strconv.ParseInt(text, 10, 32)
	period := time.Duration(ms) * time.Millisecond
	if err != nil || period < minPeriod || period > maxPeriod {
		return 0, fmt.Errorf("annotation %s: %q is not a number of milliseconds from %d to %d",
			PeriodAnnotation, text, minPeriod.Milliseconds(), maxPeriod.Milliseconds())
	}
	return period, nil
}

// FromV1 resolves a probe of a pod; nil stays nil. What cannot be resolved, such as a port name that no container port
// has, makes a try that is always Unknown and says so, as with the kubelet.
func FromV1(p *v1.Probe, kind Kind, at Place) *Probing {
	if p == nil {
		return nil
	}
	spec := Spec{
		Kind:             kind,
		InitialDelay:     seconds(p.InitialDelaySeconds),
		Period:           seconds(p.PeriodSeconds),
		Timeout:          seconds(p.TimeoutSeconds),
		SuccessThreshold: int(p.SuccessThreshold),
		FailureThreshold: int(p.FailureThreshold),
	}
	if at.Period > 0 {
		spec.Period = at.Period
	}
	try, err := at.try(p.ProbeHandler)
	if err != nil {
		try = func(context.Context) Result { return result(Unknown, err.Error()) }
	}
	return &Probing{spec.withDefaults(), try}
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// try is the question that a handler asks.
func (at Place) try(h v1.ProbeHandler) (Try, error) {
	switch {
	case h.Exec != nil:
		if at.Exec == nil {
			return nil, errors.New("commands cannot be run here")
		}
		return Command(at.Exec, at.expand(h.Exec.Command)), nil
	case h.HTTPGet != nil:
		t, err := at.http(h.HTTPGet)
		if err != nil {
			return nil, err
		}
		return HTTP(t), nil
	case h.TCPSocket != nil:
		port, err := at.port(h.TCPSocket.Port)
		if err != nil {
			return nil, err
		}
		host, err := at.host(h.TCPSocket.Host)
		if err != nil {
			return nil, err
		}
		return TCP(TCPTarget{Host: host, Port: port, Dial: at.Dial}), nil
	case h.GRPC != nil:
		host, err := at.host("")
		if err != nil {
			return nil, err
		}
		t := GRPCTarget{Host: host, Port: int(h.GRPC.Port), Dial: at.Dial}
		if h.GRPC.Service != nil {
			t.Service = *h.GRPC.Service
		}
		t.TLS = h.GRPC.Mode != nil && *h.GRPC.Mode == v1.GRPCProbeModeTLS
		return GRPC(t), nil
	default:
		return nil, errors.New("missing probe handler")
	}
}

// http is the target of an httpGet action.
func (at Place) http(a *v1.HTTPGetAction) (HTTPTarget, error) {
	port, err := at.port(a.Port)
	if err != nil {
		return HTTPTarget{}, err
	}
	host, err := at.host(a.Host)
	if err != nil {
		return HTTPTarget{}, err
	}
	headers := http.Header{}
	for _, h := range a.HTTPHeaders {
		headers.Add(h.Name, h.Value)
	}
	return HTTPTarget{
		Scheme: string(a.Scheme), Host: host, Port: port, Path: a.Path, Headers: headers, Dial: at.Dial,
		Protocol2: a.Protocol != nil && *a.Protocol == v1.HTTPProtocolHTTP2,
	}, nil
}

// host is who is asked. A pod that has lost its network has no address, and an empty one would be the node's own.
func (at Place) host(named string) (string, error) {
	if named = cmp.Or(named, at.PodIP); named == "" {
		return "", errors.New("the pod has no address")
	}
	return named, nil
}

// port is a port by number, or by the name of a container port.
func (at Place) port(p intstr.IntOrString) (int, error) {
	number := p.IntValue()
	if p.Type == intstr.String {
		i := slices.IndexFunc(at.Ports, func(c v1.ContainerPort) bool { return c.Name == p.StrVal })
		if i < 0 {
			return 0, fmt.Errorf("port %q not found", p.StrVal)
		}
		number = int(at.Ports[i].ContainerPort)
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("invalid port number: %d", number)
	}
	return number, nil
}

func (at Place) expand(command []string) []string {
	if at.Expand == nil {
		return command
	}
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = at.Expand(w)
	}
	return words
}
