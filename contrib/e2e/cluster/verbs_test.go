package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"edgepod.dev/agent/contrib/e2e/node"
)

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

// verbs are kubectl's ways into a container, through the API server.
func verbs(t *testing.T, c *Cluster, _ *node.Node) {
	p := sleeper("verbs", "one")
	p.Spec.Containers[0].Command = []string{"sh", "-c", `echo started; httpd -p 8080 -h /etc; while read l; do echo "heard $l"; done; sleep 3600`}
	p.Spec.Containers[0].Stdin = true
	c.Create(pods, p)
	running(t, c, "verbs")

	if out := c.MustKubectl("exec", "verbs", "--", "cat", "/etc/hostname"); out != "verbs\n" {
		t.Errorf("exec gave %q", out)
	}
	cmd := c.Command("exec", "-i", "verbs", "--", "sh", "-c", "cat; echo err >&2; exit 3")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("through"), &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 || out.String() != "through" || !strings.Contains(errs.String(), "err") {
		t.Errorf("exec -i ended with %v, %q, %q", err, out.String(), errs.String())
	}

	cmd = c.Command("attach", "-i", "verbs")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	attached := start(t, cmd)
	c.Eventually("attach to carry what is said both ways", func() error {
		_, _ = io.WriteString(in, "hello\n") // again and again: what is said before the stream is up has no answer
		time.Sleep(300 * time.Millisecond)
		if s := attached(); !strings.Contains(s, "heard hello") {
			return fmt.Errorf("it gave %q", s)
		}
		return nil
	})

	if out := c.MustKubectl("logs", "verbs"); !strings.HasPrefix(out, "started\n") || !strings.Contains(out, "heard hello") {
		t.Errorf("logs gave %q", out)
	}
	if out := c.MustKubectl("logs", "--tail=1", "--timestamps", "verbs"); !regexp.MustCompile(`^\d{4}-\S+Z heard hello\n$`).MatchString(out) {
		t.Errorf("logs --tail=1 --timestamps gave %q", out)
	}

	forwarded := start(t, c.Command("port-forward", "verbs", ":8080"))
	c.Eventually("port-forward to reach the web server", func() error {
		m := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`).FindStringSubmatch(forwarded())
		if m == nil {
			return fmt.Errorf("kubectl said %q", forwarded())
		}
		r, err := http.Get("http://" + m[1] + "/hostname")
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != "verbs\n" {
			return but(err, "it gave %q", b)
		}
		return nil
	})

	file := scratch(c, "copied")
	if err := os.WriteFile(file, []byte("copied"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.MustKubectl("cp", file, "verbs:/tmp/copied")
	c.MustKubectl("cp", "verbs:/tmp/copied", file+"-back")
	if b, err := os.ReadFile(file + "-back"); err != nil || string(b) != "copied" {
		t.Errorf("cp there and back gave %q (%v)", b, err)
	}

	c.MustKubectl("debug", "verbs", "--image="+node.Busybox, "--target=app", "-c", "look", "--", "sh", "-c", "ps; cat /proc/1/comm; echo looked; sleep 60")
	c.Eventually("the debug container to look around", func() error {
		if out, err := c.Kubectl("logs", "verbs", "-c", "look"); err != nil || !strings.Contains(out, "looked") || !strings.Contains(out, "httpd") {
			return but(err, "its log is %q", out)
		}
		return nil
	})
	gently := time.Now()
	c.MustKubectl("delete", "pod", "verbs", "--grace-period=2")
	if took := time.Since(gently); took > 20*time.Second {
		t.Errorf("kubectl delete took %v for a grace of 2 s", took)
	}
}

// start runs a command beside the test, which ends it; said is what it has written so far.
func start(t *testing.T, cmd *exec.Cmd) (said func() string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = file.Close() })
	return func() string {
		b, _ := os.ReadFile(file.Name())
		return string(b)
	}
}

// ask is a GET of the node's own HTTPS API with a bearer token, past the API server.
func (c *Cluster) ask(t *testing.T, url, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}
