package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"edgepod.dev/agent/contrib/e2e/node"
)

func TestGetAndDescribe(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	n.Apply(node.Pod("app", node.Sleep), node.Pod("crash", "exit 9"))
	p := n.WaitRunning("app")
	waiting(n, "crash", "CrashLoopBackOff")
	// kubectl's columns.
	out := n.MustAgent("get", "pods")
	for _, want := range []string{
		`(?m)^NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\s*$`,
		`(?m)^app\s+1/1\s+Running\s+0\s+\d+s\s*$`,
		`(?m)^crash\s+0/1\s+CrashLoopBackOff\s+1 \(\d+s ago\)\s+\d+s\s*$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("get pods has no line %s:\n%s", want, out)
		}
	}
	if wide := n.MustAgent("get", "pods", "-o", "wide"); !strings.Contains(wide, "NODE") || !strings.Contains(wide, p.Status.PodIP) {
		t.Errorf("get pods -o wide lacks the node or the address %s:\n%s", p.Status.PodIP, wide)
	}
	var list v1.PodList
	if err := json.Unmarshal([]byte(n.MustAgent("get", "pods", "-o", "json")), &list); err != nil || list.Kind != "List" && list.Kind != "PodList" || len(list.Items) != 2 {
		t.Errorf("get pods -o json is a %s of %d items (%v), want a list of 2", list.Kind, len(list.Items), err)
	}
	var fromYAML v1.PodList
	if err := yaml.UnmarshalStrict([]byte(n.MustAgent("get", "pods", "-o", "yaml")), &fromYAML); err != nil || len(fromYAML.Items) != 2 {
		t.Errorf("get pods -o yaml has %d items (%v), want 2", len(fromYAML.Items), err)
	}
	if out, errs, code := n.Agent("get", "pods", "nobody"); code == 0 {
		t.Errorf("getting a pod that does not exist succeeded: %s%s", out, errs)
	}
	out = n.MustAgent("describe", "pod", "crash")
	for _, want := range []string{"crash.yaml", "Conditions:", "Ready", "Last State:", "Exit Code:", "9", "Events:", "BackOff", "Restart Count:"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe lacks %q:\n%s", want, out)
		}
	}
	if out := n.MustAgent("version"); !strings.Contains(out, "Containerd:   ") {
		t.Errorf("version does not name the engine:\n%s", out)
	}
	if st, err := os.Stat(n.Socket()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v (%v), want 0600", st.Mode().Perm(), err)
	}
}

func TestLogs(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	n.Apply(node.Pod("count", "for i in 1 2 3 4 5; do echo line $i; echo err $i >&2; done; sleep 1; echo late; "+node.Sleep))
	n.WaitRunning("count")
	said(n, "count", "line 5")
	if got := n.MustAgent("logs", "--tail", "2", "count"); strings.Count(got, "\n") != 2 {
		t.Errorf("--tail 2 gave %q", got)
	}
	if got := n.MustAgent("logs", "--timestamps", "-c", "app", "count"); !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S+ line 1$`).MatchString(got) {
		t.Errorf("--timestamps gave %q", got)
	}
	if got := n.MustAgent("logs", "--since", "1h", "count"); !strings.Contains(got, "line 1") {
		t.Errorf("--since 1h gave %q", got)
	}
	if _, _, code := n.Agent("logs", "-c", "nobody", "count"); code == 0 {
		t.Error("logs of a container that does not exist succeeded")
	}
	// -f sees what comes, across a restart of the agent at the files' side.
	follow := exec.Command(filepath.Join(built.bin, "agent"), "--socket", n.Socket(), "logs", "-f", "count")
	var out lockedBuffer
	follow.Stdout = &out
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follow.Process.Kill(); _ = follow.Wait() }()
	n.Eventually("logs -f to show what comes later", func() string {
		if s := out.String(); !strings.Contains(s, "late") {
			return s
		}
		return ""
	})
	// The kubelet's layout and CRI's format.
	uid := string(n.Pod("count").UID)
	b, err := os.ReadFile(filepath.Join(n.Logs(), "default_count_"+uid, "app", "0.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\S+ stdout F line 1$`).Match(b) || !regexp.MustCompile(`(?m)^\S+ stderr F err 1$`).Match(b) {
		t.Errorf("the log file is not in CRI's format:\n%s", b)
	}
	n.Apply(node.Pod("twice", "echo life $(cat /proc/sys/kernel/random/uuid); exit 1"))
	n.Wait("twice", "restarted", func(p *v1.Pod) bool { return p != nil && node.Container(p, "app").RestartCount >= 1 })
	n.Eventually("logs and logs -p to show two lives", func() string {
		now, _, _ := n.Agent("logs", "twice")
		before, _, _ := n.Agent("logs", "-p", "twice")
		if !strings.HasPrefix(before, "life") || !strings.HasPrefix(now, "life") || now == before {
			return fmt.Sprintf("logs gave %q and -p %q", now, before)
		}
		return ""
	})
}

func TestLogsAreRotatedAndLostToNobody(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		// 80 MB in lines of 100 bytes, with the agent killed in the middle: the app is never blocked for good.
		n.Apply(node.Pod("flood", "yes "+strings.Repeat("x", 99)+" | head -n 800000; echo end of flood; "+node.Sleep))
		n.WaitRunning("flood")
		time.Sleep(300 * time.Millisecond)
		n.Kill()
		n.Start()
		n.Within(90*time.Second, "the end of the flood", func() string {
			out, errs, _ := n.Agent("logs", "--tail", "1", "flood")
			if strings.Contains(out, "end of flood") {
				return ""
			}
			return out + errs
		})
		dir := filepath.Join(n.Logs(), "default_flood_"+string(n.Pod("flood").UID), "app")
		n.Eventually("at most 5 log files of at most 10 MiB", func() string {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err.Error()
			}
			for _, e := range entries {
				if i, err := e.Info(); err == nil && i.Size() > 11<<20 {
					return e.Name() + " is too large"
				}
			}
			if len(entries) < 2 || len(entries) > 5 {
				return "there are " + strconv.Itoa(len(entries))
			}
			return ""
		})
	})
}

func TestSecondAgentRefusesToStart(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	cmd := exec.Command(filepath.Join(built.bin, "agent"), n.RunArgs()...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), strconv.Itoa(n.Pid())) {
		t.Errorf("a second agent on the same root ended with %v and said %q, want an error that names process %d", err, out, n.Pid())
	}
	n.Apply(node.Pod("app", node.Sleep))
	n.WaitRunning("app")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", node.YAML(t, node.Pod("app", node.Sleep)))
	bad := file("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  containers:\n  - name: app\n    image: x\n    imagee: y\n")
	rows := map[string]struct {
		args []string
		code int
		want []string
	}{
		"a good file":                {[]string{good}, 0, nil},
		"a bad file":                 {[]string{bad}, 1, []string{"bad.yaml:9", "spec.containers[0].imagee"}},
		"both":                       {[]string{good, bad}, 1, []string{"bad.yaml:9"}},
		"a file that does not exist": {[]string{filepath.Join(dir, "none.yaml")}, 1, []string{"none.yaml"}},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(filepath.Join(built.bin, "agent"), append([]string{"validate"}, r.args...)...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != r.code {
				t.Errorf("exit code %d, want %d:\n%s", got, r.code, out)
			}
			for _, w := range r.want {
				if !bytes.Contains(out, []byte(w)) {
					t.Errorf("the output lacks %q:\n%s", w, out)
				}
			}
		})
	}
}

func TestConfigurationFileAndEnvironment(t *testing.T) {
	t.Parallel()
	run := func(config string, env []string, args ...string) (string, int) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(built.bin, "agent"), append([]string{"run", "--config", file}, args...)...)
		cmd.Env = append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	// A file as --root cannot work: the message shows whose value counted.
	notDir := filepath.Join(t.TempDir(), "file-by-flag")
	fromFile, fromEnv := notDir+"-config", notDir+"-env"
	for _, f := range []string{notDir, fromFile, fromEnv} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	state := "state: " + filepath.Join(t.TempDir(), "state") + "\n"
	for name, r := range map[string]struct {
		config string
		env    []string
		args   []string
		want   string
	}{
		"the file alone":             {state + "root: " + fromFile + "\n", nil, nil, fromFile},
		"a flag wins over the file":  {state + "root: " + fromFile + "\n", nil, []string{"--root", notDir}, notDir + ":"},
		"the environment":            {state, []string{"AGENT_ROOT=" + fromEnv}, nil, fromEnv},
		"an unknown key is an error": {state + "rooot: /x\n", nil, nil, "rooot"},
	} {
		out, code := run(r.config, r.env, r.args...)
		if code == 0 || !strings.Contains(out, r.want) {
			t.Errorf("%s: exit code %d, want an error with %q:\n%s", name, code, r.want, out)
		}
	}
}

func TestWatchdogAndReadyAreSent(t *testing.T) {
	n := embeddedOnly(t)
	sock := filepath.Join(n.Dir, "notify")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: sock}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(built.bin, "agent"), n.RunArgs()...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+sock, "WATCHDOG_USEC=400000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	seen := map[string]int{}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline) && (seen["READY=1"] == 0 || seen["WATCHDOG=1"] < 3); {
		tv := syscall.NsecToTimeval(int64(time.Second))
		_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
		buf := make([]byte, 4096)
		if k, _, err := syscall.Recvfrom(fd, buf, 0); err == nil {
			for line := range strings.Lines(string(buf[:k])) {
				seen[strings.TrimSpace(line)]++
			}
		}
	}
	if seen["READY=1"] == 0 || seen["WATCHDOG=1"] < 3 {
		t.Errorf("systemd was told %v, want READY=1 once and WATCHDOG=1 again and again", seen)
	}
}
