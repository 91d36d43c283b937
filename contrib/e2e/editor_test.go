package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/contrib/e2e/node"
)

// TestEachEditorsWayOfSaving changes the manifest the way each program does: exactly one new pod, never the old one
// twice, and nothing at all when the content stays.
func TestEachEditorsWayOfSaving(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	file := filepath.Join(n.Manifests(), "app.yaml")
	vim := func(backupcopy string) string {
		return built.vim + ` -Nu NONE -n -es -c 'set nofixeol backup writebackup backupcopy=` + backupcopy + `' -c '%s/MARK=$OLD/MARK=$NEW/e' -c 'wq!' $FILE`
	}
	ways := map[string]string{
		"sed -i":                  `sed -i s/MARK=$OLD/MARK=$NEW/ $FILE`,
		"mv":                      `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && mv $TMP $FILE`,
		"cp":                      `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && cp $TMP $FILE`,
		"cat to the file":         `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && cat $TMP >$FILE`,
		"tee":                     `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && tee $FILE <$TMP >/dev/null`,
		"install":                 `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && install -m 644 $TMP $FILE`,
		"vim with backupcopy=yes": vim("yes"),
		"vim with backupcopy=no":  vim("no"),
		"vim with its default":    vim("auto"),
		"ln -sfn":                 `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && ln -sfn $TMP $FILE`,
		"vim through a link":      vim("auto"),
		"cp through a link":       `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && cp $TMP $FILE`,
		"ln and mv of a link":     `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP && ln -s $TMP $FILE.lnk && mv -T $FILE.lnk $FILE`,
	}
	linked := map[string]bool{"vim through a link": true, "cp through a link": true}
	number, saves := 0, 0
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			n.Use(t)
			number++
			old := fmt.Sprintf("old%d", number)
			next := fmt.Sprintf("new%d", number)
			if linked[name] { // the way starts from a link in place of the file
				target := filepath.Join(n.Dir, "target.yaml")
				if err := os.WriteFile(target, []byte(n.YAML(node.Pod("app", script(old)))), 0o644); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("ln", "-sfn", target, file).CombinedOutput(); err != nil {
					t.Fatalf("linking: %v\n%s", err, out)
				}
			} else {
				n.Apply(node.Pod("app", script(old)))
			}
			n.Eventually("the old version to run", func() string { return only(n, old) })
			uid := n.WaitRunning("app").UID
			save := func(from, to string) {
				t.Helper()
				cmd := exec.Command("sh", "-ec", way)
				saves++
				cmd.Env = append(os.Environ(), "FILE="+file, fmt.Sprintf("TMP=%s/tmp%d.yaml", n.Dir, saves))
				cmd.Args[2] = strings.NewReplacer("$OLD", from, "$NEW", to).Replace(way) // vim reads no variables
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("saving: %v\n%s", err, out)
				}
			}
			save(old, next)
			n.Eventually("the new version to run alone", func() string { return only(n, next) })
			if now := n.WaitRunning("app").UID; now == uid {
				t.Errorf("the new version has the old one's uid %s", now)
			}
			uid = n.Pod("app").UID
			n.Settle()
			before := n.Processes()
			save(next, next)
			n.Always(700*time.Millisecond, "the pod running on when nothing changed", func() string {
				if p := n.Pod("app"); !node.Ready(p) || p.UID != uid {
					return node.Describe(p)
				}
				return ""
			})
			same(t, "saving the same again", before, n.Processes())
		})
	}
}

// only says that one version of a pod runs and no other: "" when it is so.
func only(n *node.Node, mark string) string {
	if m := marks(n); m[mark] != 1 || len(m) != 1 {
		return fmt.Sprint(m)
	}
	return ""
}

// TestHalfAManifestIsNeverRun writes in place, slowly: the first half alone would be a valid pod.
func TestHalfAManifestIsNeverRun(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	whole := node.Pod("app", script("one"))
	second := *whole.Spec.Containers[0].DeepCopy()
	second.Name, second.Command[2] = "other", script("two")
	whole.Spec.Containers = append(whole.Spec.Containers, second)
	// The containers come last, so that the file is a valid pod when the second is still missing.
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  terminationGracePeriodSeconds: 5\n  containers:\n"
	for _, c := range whole.Spec.Containers {
		text += "  - name: " + c.Name + "\n    image: " + c.Image + "\n    command: [sh, -c, \"" + strings.ReplaceAll(c.Command[2], "\n", ";") + "\"]\n"
	}
	half := strings.Index(text, "  - name: other")
	f, err := os.Create(filepath.Join(n.Manifests(), "app.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{text[:half], text[half:]} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		n.Always(800*time.Millisecond, "no pod while the file is being written", func() string {
			if p := n.Pod("app"); p != nil {
				return node.Describe(p)
			}
			return ""
		})
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p := n.WaitRunning("app")
	if len(p.Status.ContainerStatuses) != 2 {
		t.Errorf("the pod has %d containers, want 2", len(p.Status.ContainerStatuses))
	}
}
