package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

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
		"ln -sfn":                 `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP.$NEW && ln -sfn $TMP.$NEW $FILE`,
		"ln and mv of a link":     `sed s/MARK=$OLD/MARK=$NEW/ $FILE >$TMP.$NEW && ln -s $TMP.$NEW $FILE.lnk && mv -T $FILE.lnk $FILE`,
	}
	old := "start"
	n.Apply(node.Pod("app", script(old)))
	uid := n.WaitRunning("app").UID
	number := 0
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			n.Use(t)
			number++
			next := "v" + string(rune('a'+number))
			save := func(from, to string) {
				t.Helper()
				cmd := exec.Command("sh", "-ec", way)
				cmd.Env = append(os.Environ(), "FILE="+file, "TMP="+filepath.Join(n.Dir, "tmp"), "OLD="+from, "NEW="+to)
				// vim takes its commands from variables only when the shell has put them in.
				cmd.Args[2] = strings.NewReplacer("$OLD", from, "$NEW", to).Replace(way)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("saving: %v\n%s", err, out)
				}
			}
			save(old, next)
			n.Wait("app", "changed to "+next, func(p *v1.Pod) bool {
				m := marks(n)
				return node.Ready(p) && p.UID != uid && m[next] == 1 && len(m) == 1
			})
			uid = n.Pod("app").UID
			before := n.Processes()
			save(next, next)
			n.Always(700*time.Millisecond, "the pod running on when nothing changed", func() string {
				if p := n.Pod("app"); !node.Ready(p) || p.UID != uid {
					return node.Describe(p)
				}
				return ""
			})
			same(t, "saving the same again", before, n.Processes())
			old = next
		})
	}
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
