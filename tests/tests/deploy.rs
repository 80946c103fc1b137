//! The manifests and Dockerfiles agree with the programs they run and with themselves.
//!
//! There is no cluster here and no container engine: what can be held is that every port, path, limit
//! and name that stands twice is the same twice, that the embedded configurations are sound to the
//! real `sidelog check`, and that Sidelog's own containers ask for no rights.

use harness::binary;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How long the sidecar goes on shipping after the last connection has ended (`FLUSH` of proxy.rs).
const FLUSH_SECONDS: u64 = 5;
/// Beside `max_bytes`, the journal's directory holds its tables, marks and the pseudonym key.
const BESIDE_THE_JOURNAL: u64 = 32 << 20;

fn root(path: &str) -> PathBuf {
    // As cargo says now: worktrees may share a target directory.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap()
}

/// What of a manifest every check needs.
struct Manifest {
    name: String,
    objects: Vec<Value>,
}

fn manifests() -> Vec<Manifest> {
    let mut names: Vec<String> = std::fs::read_dir(root("deploy/kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 2, "{names:?}");
    names.into_iter().map(Manifest::read).collect()
}

fn manifest(name: &str) -> Manifest {
    Manifest::read(name.to_owned())
}

impl Manifest {
    /// As Kubernetes reads YAML: `0440` is octal.
    fn read(name: String) -> Manifest {
        let text = read(&format!("deploy/kubernetes/{name}"));
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let objects: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options).unwrap();
        assert!(objects.len() > 1, "{name}: {}", objects.len());
        Manifest { name, objects }
    }

    fn only(&self, kind: &str) -> &Value {
        let found: Vec<&Value> = self.objects.iter().filter(|object| object["kind"] == kind).collect();
        assert_eq!(found.len(), 1, "{}: {kind}", self.name);
        found[0]
    }

    fn pod(&self) -> &Value {
        &self.only("Deployment")["spec"]["template"]["spec"]
    }

    /// Every container, native sidecars first.
    fn containers(&self) -> Vec<&Value> {
        ["initContainers", "containers"].iter().flat_map(|key| list(&self.pod()[key])).collect()
    }

    /// Sidelog's own containers; the others are an example of the user's.
    fn ours(&self) -> Vec<&Value> {
        let ours = |c: &&Value| text(&c["image"]).starts_with("sidelog/");
        let found: Vec<_> = self.containers().into_iter().filter(ours).collect();
        assert_eq!(found.len(), 1, "{}", self.name);
        found
    }

    fn container(&self) -> &Value {
        self.ours()[0]
    }

    fn service_container(&self) -> &Value {
        let theirs = |c: &&Value| !text(&c["image"]).starts_with("sidelog/");
        self.containers().into_iter().find(theirs).unwrap()
    }

    fn volume(&self, name: &str) -> &Value {
        let found = list(&self.pod()["volumes"]).iter().find(|v| v["name"] == name);
        found.unwrap_or_else(|| panic!("{}: no volume {name}", self.name))
    }

    /// Where a container sees the volume that is of this kind.
    fn mount(&self, kind: &str) -> (&str, &Value) {
        let mounts = list(&self.container()["volumeMounts"]).iter();
        let found = mounts.map(|m| (text(&m["mountPath"]), self.volume(text(&m["name"]))));
        let found: Vec<_> = found.filter(|(_, volume)| !volume[kind].is_null()).collect();
        assert_eq!(found.len(), 1, "{}: {kind}", self.name);
        found[0]
    }

    /// The embedded `sidelog.yaml`.
    fn config(&self) -> Config {
        let text = text(&self.only("ConfigMap")["data"]["sidelog.yaml"]).to_owned();
        Config { typed: serde_saphyr::from_str(&text).unwrap(), schema: schema() }
    }
}

/// A configuration as typed, with the defaults of the printed schema behind it.
struct Config {
    typed: Value,
    schema: Value,
}

impl Config {
    /// The value of `section.key`: as typed, or the default.
    fn get(&self, path: &str) -> Value {
        let typed = path.split('.').try_fold(&self.typed, |value, key| value.get(key));
        let default = path.split('.').try_fold(&self.schema, |schema, key| schema["properties"].get(key));
        let value = typed.cloned().or_else(|| default?.get("default").cloned());
        value.unwrap_or_else(|| panic!("{path} has neither a value nor a default"))
    }

    fn port(&self, path: &str) -> u64 {
        text(&self.get(path)).rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

fn schema() -> Value {
    let out = Command::new(binary("sidelog")).args(["schema", "config"]).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// Bytes of `256MiB` (Sidelog) or `384Mi` (Kubernetes).
fn bytes(value: &Value) -> u64 {
    let text = text(value).trim_end_matches('B');
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match text.strip_prefix(digits).unwrap() {
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        other => panic!("unit {other}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

fn seconds(value: &Value) -> u64 {
    text(value).strip_suffix('s').unwrap().parse().unwrap()
}

/// The value after an option in a container's `args`.
fn option<'a>(args: &[&'a str], name: &str) -> &'a str {
    let at = args.iter().position(|arg| *arg == name).unwrap_or_else(|| panic!("no {name} in {args:?}"));
    args[at + 1]
}

fn ports(container: &Value) -> BTreeSet<u64> {
    list(&container["ports"]).iter().map(|p| number(&p["containerPort"])).collect()
}

/// Lays a ConfigMap and the secrets beside it out as a container sees them, and runs `check` there.
fn check(manifest: &Manifest) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let (config_dir, _) = manifest.mount("configMap");
    for mount in list(&manifest.container()["volumeMounts"]) {
        std::fs::create_dir_all(dir.path().join(text(&mount["mountPath"]).trim_start_matches('/'))).unwrap();
    }
    let inside = |path: &str| dir.path().join(path.trim_start_matches('/'));
    for (name, content) in manifest.only("ConfigMap")["data"].as_object().unwrap() {
        // Absolute paths in it are paths of the container.
        let content =
            text(content).replace("/run/secrets/", &format!("{}/", inside("/run/secrets").display()));
        std::fs::write(inside(config_dir).join(name), content).unwrap();
    }
    if list(&manifest.pod()["volumes"]).iter().any(|v| !v["secret"].is_null()) {
        let (secret_dir, _) = manifest.mount("secret");
        std::fs::write(inside(secret_dir).join("password"), "a password").unwrap();
    }
    let config = inside(option(&texts(&manifest.container()["args"]), "--config"));
    let mut command = Command::new(binary("sidelog"));
    command.args(["check", "--deny-warnings", "--config"]).arg(config).output().unwrap()
}

#[test]
fn embedded_configurations_are_sound() {
    for manifest in manifests() {
        let out = check(&manifest);
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{}: {told}", manifest.name);
    }
}

#[test]
fn secrets_are_named_as_the_comment_makes_them() {
    let manifest = manifest("consumer.yaml");
    let (mount, volume) = manifest.mount("secret");
    let secret = text(&volume["secret"]["secretName"]);
    let made = format!("kubectl create secret generic {secret} --from-literal=password=");
    assert!(read("deploy/kubernetes/consumer.yaml").contains(&made), "{made}");
    assert_eq!(manifest.config().get("clickhouse.password_file"), format!("{mount}/password"));
    // Readable by the group that `fsGroup` makes the user's, and by nobody else.
    assert_eq!(number(&volume["secret"]["defaultMode"]), 0o440);
    assert_eq!(manifest.pod()["securityContext"]["fsGroup"], 65532);
}

#[test]
fn traffic_goes_through_the_sidecar_and_nothing_else_is_open() {
    let manifest = manifest("sidecar.yaml");
    let config = manifest.config();
    let (traffic, admin) = (config.port("listen"), config.port("admin.listen"));
    let service_ports = list(&manifest.only("Service")["spec"]["ports"]);
    assert_eq!(service_ports.len(), 1);
    assert_eq!(number(&service_ports[0]["targetPort"]), traffic);
    assert_eq!(ports(manifest.container()), BTreeSet::from([traffic, admin]));

    let policy = &manifest.only("NetworkPolicy")["spec"];
    assert_eq!(texts(&policy["policyTypes"]), ["Ingress"]);
    let open = list(&policy["ingress"]).iter().flat_map(|rule| list(&rule["ports"]));
    let open: BTreeSet<u64> = open.map(|p| number(&p["port"])).collect();
    assert_eq!(open, BTreeSet::from([traffic, admin]));
    // A rule without ports would open all of them.
    assert!(list(&policy["ingress"]).iter().all(|rule| !list(&rule["ports"]).is_empty()));

    let upstream = text(&config.typed["upstream"]);
    let service = ports(manifest.service_container()).into_iter().next().unwrap();
    assert_eq!(upstream, format!("http://127.0.0.1:{service}"));
    assert!(!open.contains(&service), "the way past the sidecar is closed");
    assert_eq!(config.get("service"), manifest.only("Deployment")["metadata"]["name"]);
}

#[test]
fn selectors_find_the_pods() {
    for manifest in manifests() {
        let labels = &manifest.only("Deployment")["spec"]["template"]["metadata"]["labels"];
        let selectors: Vec<&Value> = manifest
            .objects
            .iter()
            .filter_map(|object| {
                let spec = &object["spec"];
                match object["kind"].as_str().unwrap() {
                    "Deployment" | "PodDisruptionBudget" => Some(&spec["selector"]["matchLabels"]),
                    "NetworkPolicy" => Some(&spec["podSelector"]["matchLabels"]),
                    "Service" => Some(&spec["selector"]),
                    "ConfigMap" => None,
                    other => panic!("{}: this test does not know {other}", manifest.name),
                }
            })
            .collect();
        assert!(selectors.len() >= 2 && selectors.iter().all(|s| *s == labels), "{}", manifest.name);
    }
}

#[test]
fn probes_ask_the_admin_listener() {
    let sidecar = manifest("sidecar.yaml");
    let consumer = manifest("consumer.yaml");
    let metrics = option(&texts(&consumer.container()["args"]), "--metrics-listen").to_owned();
    let metrics: u64 = metrics.rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(ports(consumer.container()), BTreeSet::from([metrics]));
    let admin = sidecar.config().port("admin.listen");
    for (manifest, port) in [(&sidecar, admin), (&consumer, metrics)] {
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
            let get = &manifest.container()[probe]["httpGet"];
            assert_eq!((text(&get["path"]), number(&get["port"])), (path, port), "{}", manifest.name);
        }
    }
    // The service starts when this has succeeded.
    let get = &sidecar.container()["startupProbe"]["httpGet"];
    assert_eq!((text(&get["path"]), number(&get["port"])), ("/readyz", admin));
}

#[test]
fn the_sidecar_starts_before_the_service_and_ends_after_it() {
    let manifest = manifest("sidecar.yaml");
    let natives = list(&manifest.pod()["initContainers"]);
    assert_eq!((natives.len(), &natives[0]), (1, manifest.container()));
    assert_eq!(natives[0]["restartPolicy"], "Always");
    let drain = seconds(&manifest.config().get("relay.drain_timeout"));
    let grace = number(&manifest.pod()["terminationGracePeriodSeconds"]);
    assert!(grace > drain + FLUSH_SECONDS, "{grace} s for a drain of {drain} s and the last events");
}

#[test]
fn the_journal_fits_its_volume() {
    let manifest = manifest("sidecar.yaml");
    let config = manifest.config();
    let (mount, volume) = manifest.mount("emptyDir");
    assert_eq!(config.get("journal.dir"), mount);
    let (limit, journal) = (bytes(&volume["emptyDir"]["sizeLimit"]), bytes(&config.get("journal.max_bytes")));
    assert!(limit >= journal + BESIDE_THE_JOURNAL, "a volume over its limit evicts the Pod");
    let mounts = list(&manifest.container()["volumeMounts"]);
    let own = mounts.iter().find(|m| m["mountPath"] == mount).unwrap();
    assert!(own["readOnly"].is_null(), "it is written to");
    assert!(manifest.pod()["securityContext"]["fsGroup"].is_u64(), "it belongs to the user");
}

#[test]
fn volumes_and_mounts_agree() {
    for manifest in manifests() {
        let volumes: BTreeSet<&str> =
            list(&manifest.pod()["volumes"]).iter().map(|v| text(&v["name"])).collect();
        let mounts = manifest.containers().into_iter().flat_map(|c| list(&c["volumeMounts"]));
        let mounted: BTreeSet<&str> = mounts.map(|m| text(&m["name"])).collect();
        assert_eq!(volumes, mounted, "{}", manifest.name);
        let (mount, volume) = manifest.mount("configMap");
        assert_eq!(volume["configMap"]["name"], manifest.only("ConfigMap")["metadata"]["name"]);
        let config = option(&texts(&manifest.container()["args"]), "--config");
        assert_eq!(config, format!("{mount}/sidelog.yaml"), "{}", manifest.name);
        // A file mounted by `subPath` is never updated.
        let mounts = list(&manifest.container()["volumeMounts"]);
        assert!(mounts.iter().all(|m| m["subPath"].is_null()), "{}", manifest.name);
    }
}

#[test]
fn our_containers_have_no_rights_they_do_not_need() {
    for manifest in manifests() {
        let pod = &manifest.pod()["securityContext"];
        assert_eq!(manifest.pod()["automountServiceAccountToken"], false, "{}", manifest.name);
        for container in manifest.ours() {
            let own = &container["securityContext"];
            let of = |key: &str| if own[key].is_null() { &pod[key] } else { &own[key] };
            assert_eq!(texts(&own["capabilities"]["drop"]), ["ALL"], "{}", manifest.name);
            assert!(own["capabilities"]["add"].is_null() && own["privileged"].is_null());
            assert_eq!(own["readOnlyRootFilesystem"], true, "{}", manifest.name);
            assert_eq!(own["allowPrivilegeEscalation"], false, "{}", manifest.name);
            assert_eq!(of("runAsNonRoot"), true, "{}", manifest.name);
            assert_eq!(of("runAsUser"), 65532, "{}", manifest.name);
            assert_eq!(of("seccompProfile")["type"], "RuntimeDefault", "{}", manifest.name);
            assert!(!container["resources"]["limits"]["memory"].is_null(), "{}", manifest.name);
        }
    }
}

/// "What changes for the service: nothing": what it may and as whom it runs stays its own.
#[test]
fn the_service_keeps_its_own_user() {
    let manifest = manifest("sidecar.yaml");
    let pod = manifest.pod()["securityContext"].as_object().unwrap();
    assert_eq!(pod.keys().collect::<Vec<_>>(), ["fsGroup"], "more would hold for the service as well");
    let theirs = manifest.service_container();
    assert!(theirs["volumeMounts"].is_null() && theirs["env"].is_null() && theirs["command"].is_null());
}

#[test]
fn images_are_pinned_and_those_that_the_dockerfiles_make() {
    let made: BTreeSet<String> = dockerfiles().into_values().map(|d| d.image).collect();
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(read("Cargo.toml").contains(&version));
    for manifest in manifests() {
        for container in manifest.containers() {
            let image = text(&container["image"]);
            let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
            assert!(tag != "latest" && tag.starts_with(|c: char| c.is_ascii_digit()), "{image}");
            if image.starts_with("sidelog/") {
                assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{image}");
                assert!(made.contains(image), "no Dockerfile makes {image}: {made:?}");
            }
        }
    }
}

/// A Dockerfile, as far as it is compared. Lines that end in `\` are joined.
struct Dockerfile {
    /// Of the `docker build` in its comment.
    image: String,
    lines: Vec<String>,
}

fn dockerfiles() -> BTreeMap<String, Dockerfile> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root("deploy/docker")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = read(&format!("deploy/docker/{name}"));
        let build = text.lines().find(|l| l.starts_with("#   docker build -f ")).unwrap();
        let words: Vec<&str> = build.split_whitespace().collect();
        assert_eq!(option(&words, "-f"), format!("deploy/docker/{name}"));
        let image = option(&words, "-t").to_owned();
        let lines = text.replace("\\\n", " ").lines().map(str::to_owned).collect();
        found.insert(name, Dockerfile { image, lines });
    }
    assert!(found.len() >= 2);
    found
}

impl Dockerfile {
    /// What follows an instruction, each time it stands there.
    fn all(&self, instruction: &str) -> Vec<&str> {
        let rest = self.lines.iter().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
        rest.collect()
    }

    fn only(&self, instruction: &str) -> &str {
        let found = self.all(instruction);
        assert_eq!(found.len(), 1, "{}: {instruction}", self.image);
        found[0]
    }

    fn list(&self, instruction: &str) -> Vec<String> {
        serde_json::from_str(self.only(instruction)).unwrap()
    }

    fn build(&self) -> Vec<&str> {
        let run = self.all("RUN").into_iter().find(|run| run.contains("cargo build")).unwrap();
        run.split_whitespace().collect()
    }
}

/// Names of the workspace's packages that are programs, by directory.
fn programs() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for dir in ["", "consumer/", "standalone/"] {
        assert!(root(&format!("{dir}src/main.rs")).exists());
        let manifest = read(&format!("{dir}Cargo.toml"));
        let name = manifest.lines().find_map(|l| l.strip_prefix("name = ")).unwrap();
        names.insert(name.trim_matches('"').to_owned());
    }
    names
}

#[test]
fn dockerfiles_build_and_start_programs_of_the_workspace() {
    let toolchain = read("rust-toolchain.toml");
    for (name, file) in dockerfiles() {
        let build = file.build();
        let program = option(&build, "--package");
        assert!(programs().contains(program), "{name}: {program}");
        assert!(build.contains(&"--locked"), "{name}: with the versions that were tested");
        // What was built is copied out of the cache, into the image, and started.
        assert_eq!(option(&build, "cp"), format!("target/release/{program}"), "{name}");
        let entry = file.list("ENTRYPOINT");
        let copied = format!("--from=build /{program} {}", entry[0]);
        assert!(file.all("COPY").contains(&copied.as_str()), "{name}: {copied}");
        assert_eq!(entry, [format!("/usr/bin/{program}")], "{name}");

        let from = file.all("FROM")[0];
        let version = from.strip_prefix("rust:").unwrap().split('-').next().unwrap();
        assert!(toolchain.contains(&format!("channel = \"{version}.")), "{name}: {from}");
        let base = file.only("ARG").strip_prefix("BASE=").unwrap();
        assert!(base.contains(':') && !base.ends_with(":latest"), "{name}: {base}");
        assert_eq!(file.only("USER"), "65532:65532", "{name}: Kubernetes can check a number only");
    }
}

/// What the image starts by itself is understood by the program: it misses the configuration, no more.
#[test]
fn default_arguments_are_understood() {
    for (name, file) in dockerfiles() {
        let arguments = file.list("CMD");
        let program = option(&file.build(), "--package").to_owned();
        let out = Command::new(binary(&program)).args(&arguments).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{name}: {told}");
        assert!(told.contains("/etc/sidelog/sidelog.yaml"), "{name}: {told}");
    }
}

#[test]
fn arguments_of_the_manifests_are_understood() {
    for manifest in manifests() {
        let container = manifest.container();
        let file = dockerfiles().into_values().find(|d| d.image == text(&container["image"])).unwrap();
        let entry = file.list("ENTRYPOINT");
        if let Some(command) = container["command"].as_array() {
            assert_eq!(texts(&Value::Array(command.clone())), entry, "{}", manifest.name);
        }
        let program = entry[0].rsplit('/').next().unwrap();
        let out = Command::new(binary(program)).args(texts(&container["args"])).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{}: {told}", manifest.name);
    }
}

#[test]
fn images_expose_the_ports_and_hold_the_directory_of_the_defaults() {
    let files = dockerfiles();
    let config = Config { typed: Value::Null, schema: schema() };
    let sidecar = &files["sidecar.Dockerfile"];
    let exposed: BTreeSet<u64> =
        sidecar.only("EXPOSE").split_whitespace().map(|port| port.parse().unwrap()).collect();
    assert_eq!(exposed, BTreeSet::from([config.port("listen"), config.port("admin.listen")]));
    let journal = format!("--from=build --chown=65532:65532 /empty {}", text(&config.get("journal.dir")));
    assert!(sidecar.all("COPY").contains(&journal.as_str()), "{journal}");
    let consumer = &files["server.Dockerfile"];
    let help = Command::new(binary("sidelog-consumer")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains(&format!("[default: 0.0.0.0:{}]", consumer.only("EXPOSE"))), "{help}");
}
