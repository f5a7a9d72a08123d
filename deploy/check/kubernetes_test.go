package check

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// manifests are the objects of a file by their kinds.
type manifests struct {
	deployments []appsv1.Deployment
	settings    []string // holdd.yaml in ConfigMaps
	kinds       []string
}

func decodeManifests(t *testing.T, text []byte) (all manifests) {
	t.Helper()
	for _, doc := range bytes.Split(append([]byte("\n"), text...), []byte("\n---")) {
		var head struct{ Kind, APIVersion string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}
		strict := func(into any) {
			if err := yaml.UnmarshalStrict(doc, into); err != nil {
				t.Errorf("%s: %v", head.Kind, err)
			}
		}
		switch head.APIVersion + " " + head.Kind {
		case " ":
			continue // comments alone
		case "apps/v1 Deployment":
			var d appsv1.Deployment
			strict(&d)
			all.deployments = append(all.deployments, d)
		case "v1 Service":
			strict(&corev1.Service{})
		case "v1 ConfigMap":
			var c corev1.ConfigMap
			strict(&c)
			all.settings = append(all.settings, c.Data["holdd.yaml"])
		case "policy/v1 PodDisruptionBudget":
			strict(&policyv1.PodDisruptionBudget{})
		case "networking.k8s.io/v1 NetworkPolicy":
			strict(&networkingv1.NetworkPolicy{})
		case "monitoring.coreos.com/v1 PodMonitor":
		case "monitoring.coreos.com/v1 PrometheusRule":
			var r struct {
				Spec ruleFile
			}
			if err := yaml.Unmarshal(doc, &r); err != nil || len(r.Spec.Groups) != len(readRules(t).Groups) {
				t.Errorf("the PrometheusRule has not the alerts of holdd.rules.yaml: %v", err)
			}
		default:
			t.Errorf("%s %s is not expected", head.APIVersion, head.Kind)
		}
		all.kinds = append(all.kinds, head.Kind)
	}
	return all
}

// checkContainer holds a holdd container against what it needs, and reads its
// settings.
func checkContainer(t *testing.T, pod corev1.PodSpec, c corev1.Container, settings string) {
	t.Helper()
	for what, ok := range map[string]bool{
		"a root file system that can be written": c.SecurityContext.ReadOnlyRootFilesystem != nil && *c.SecurityContext.ReadOnlyRootFilesystem,
		"privileges to be had":                   c.SecurityContext.AllowPrivilegeEscalation != nil && !*c.SecurityContext.AllowPrivilegeEscalation,
		"capabilities":                           c.SecurityContext.Capabilities != nil && slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}),
		"root's number":                          pod.SecurityContext.RunAsNonRoot != nil && *pod.SecurityContext.RunAsNonRoot,
		"no bound on memory":                     !c.Resources.Limits.Memory().IsZero() && !c.Resources.Requests.Memory().IsZero(),
		"a bound on CPU":                         c.Resources.Limits.Cpu().IsZero() && !c.Resources.Requests.Cpu().IsZero(),
		"no probe of its life":                   c.LivenessProbe != nil && c.LivenessProbe.HTTPGet.Path == "/healthz",
		"no probe of its start":                  c.StartupProbe != nil && c.StartupProbe.HTTPGet.Path == "/healthz",
		"less time to stop than it takes":        pod.TerminationGracePeriodSeconds != nil && *pod.TerminationGracePeriodSeconds > 25,
	} {
		if !ok {
			t.Errorf("holdd has %s", what)
		}
	}
	env := map[string]string{}
	for _, e := range c.Env {
		switch {
		case e.Name == "GOMEMLIMIT":
			continue
		case e.ValueFrom != nil:
			t.Errorf("%s comes from a secret: a variable keeps its value until the restart, and is readable in /proc", e.Name)
		}
		env[e.Name] = e.Value
		if strings.HasPrefix(e.Value, "/run/secrets/holdd/") && !mountsSecretFile(pod, c, e.Value) {
			t.Errorf("%s names %s, which is not mounted", e.Name, e.Value)
		}
	}
	s := loadSettings(t, settings, env, "/run/secrets/holdd/")
	if s.IsAPIReachableOnlyLocally() || s.TokensFile == "" {
		t.Error("probes and Prometheus can't reach it")
	}
	for name, address := range map[string]string{"webhook": s.WebhookListen, "metrics": s.MetricsListen} {
		named := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
		if (named >= 0) != (address != "") || named >= 0 && address != fmt.Sprintf("0.0.0.0:%d", c.Ports[named].ContainerPort) {
			t.Errorf("the port %s is not that of %s_listen %q", name, name, address)
		}
	}
}

// mountsSecretFile tells whether a container has a file from a secret.
func mountsSecretFile(pod corev1.PodSpec, c corev1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		rest, ok := strings.CutPrefix(path, m.MountPath+"/")
		for _, v := range pod.Volumes {
			if ok && m.ReadOnly && v.Name == m.Name && v.Secret != nil && slices.ContainsFunc(v.Secret.Items, func(k corev1.KeyToPath) bool { return k.Path == rest }) {
				return true
			}
		}
	}
	return false
}

func TestSidecarManifest(t *testing.T) {
	all := decodeManifests(t, readFile(t, deployDir, "kubernetes/sidecar.yaml"))
	if len(all.deployments) != 1 {
		t.Fatal("there is no Deployment")
	}
	pod := all.deployments[0].Spec.Template.Spec
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 {
		t.Fatal("there should be a sidecar and a booking system")
	}
	c := pod.InitContainers[0]
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("an init container that does not stay keeps the booking system from starting")
	}
	if c.ReadinessProbe != nil {
		t.Error("a sidecar's readiness is the whole pod's: Stripe's absence would take the booking system off the net")
	}
	checkContainer(t, pod, c, "")
	decodeManifests(t, readFile(t, deployDir, "kubernetes/podmonitor.yaml"))
}

func TestHelmChart(t *testing.T) {
	helm := requireTool(t, "helm")
	chart := filepath.Join(deployDir, "helm/holdd")
	run := func(args ...string) ([]byte, error) {
		cmd := exec.Command(helm, args...)
		cmd.Env = append(cmd.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
		var errors bytes.Buffer
		cmd.Stderr = &errors
		out, err := cmd.Output()
		if err != nil {
			out = append(out, errors.Bytes()...)
		}
		return out, err
	}
	if out, err := run("lint", "--strict", chart, "--set", "existingSecret=holdd"); err != nil {
		t.Errorf("helm lint: %v\n%s", err, out)
	}
	everything := writeFile(t, filepath.Join(t.TempDir(), "values.yaml"), `
existingSecret: holdd
replicaCount: 3
image: {digest: "sha256:`+strings.Repeat("0f", 32)+`"}
imagePullSecrets: [{name: registry}]
secretKeys: {callbackSecret: callback_secret, cardholderSecret: cardholder_secret, webhookSecrets: webhook_secrets, notifyURLs: notify_urls, pingURL: ping_url}
settings: {expiry_margin: 2h, alert_thresholds: [48h, 6h], schedule_capture: "TZ=Europe/Paris */5 9-18 * * *", rate: 50,
  callback_url: "https://hotel.example/holdd-events", callback_severity: warning, alert_time_zone: Europe/Paris, runbook_url: "https://wiki.example/holdd", events_max_size: 64MiB,
  public_url: "https://pay.hotel.example", property_name: Hotel Example}
networkPolicy:
  from: [{namespaceSelector: {matchLabels: {team: booking}}}]
  webhookFrom: [{namespaceSelector: {matchLabels: {name: ingress}}}]
  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 6380}]}]
listeners: {webhookPort: 8421, metricsPort: 8422}
podMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
podAnnotations: {note: "yes"}
podLabels: {team: booking}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: spot, operator: Exists}]
affinity: {podAntiAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: high
extraEnv: [{name: HOLDD_LOG_LEVEL, value: debug}]
`)
	for _, c := range []struct {
		name  string
		args  []string
		kinds []string
	}{
		{"defaults", []string{"--set", "existingSecret=holdd"}, []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}},
		{"everything", []string{"-f", everything}, []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "Service", "Service"}},
		{"one replica", []string{"--set", "existingSecret=holdd,replicaCount=1,networkPolicy.enabled=false"}, []string{"ConfigMap", "Deployment", "Service"}},
		{"mail", []string{"--set", "existingSecret=holdd,networkPolicy.morePorts={587}"}, []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run(append([]string{"template", "release", chart}, c.args...)...)
			if err != nil {
				t.Fatalf("helm template: %v\n%s", err, out)
			}
			all := decodeManifests(t, out)
			slices.Sort(all.kinds)
			if !slices.Equal(all.kinds, c.kinds) {
				t.Errorf("it makes %v", all.kinds)
			}
			pod := all.deployments[0].Spec.Template.Spec
			checkContainer(t, pod, pod.Containers[0], all.settings[0])
		})
	}
	for name, args := range map[string][]string{
		"a secret is missing":          nil,
		"a value that nobody knows":    {"--set", "existingSecret=holdd,replicas=3"},
		"a key in the settings":        {"--set", "existingSecret=holdd,settings.stripe_api_key=x"},
		"a switch's address in them":   {"--set", "existingSecret=holdd,settings.ping_url=x"},
		"another listener in them":     {"--set", "existingSecret=holdd,settings.webhook_listen=x"},
		"the address in the settings ": {"--set", "existingSecret=holdd,settings.listen=x"},
	} {
		if out, err := run(append([]string{"template", "release", chart}, args...)...); err == nil {
			t.Errorf("%s, and it makes\n%s", name, out)
		}
	}
}
