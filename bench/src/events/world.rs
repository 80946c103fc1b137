//! Who calls what: services with their documents, tenants, people and machines.

use super::random::Random;
use sidelog::openapi::{self, Operation, ParamKind};
use std::path::Path;

const TENANTS: u64 = 200;
/// Of the largest tenant; the others have fewer.
const MOST_PEOPLE: u64 = 2000;
const FEWEST_PEOPLE: u64 = 4;
/// A token lives for a day, so its fingerprint changes.
const TOKEN_MILLIS: i64 = 86_400_000;

/// Name and document of each service.
const SERVICES: [(&str, &str); 3] =
    [("petstore", "petstore3.yaml"), ("alerts", "alertmanager.yaml"), ("bookstore", "esp-v2-bookstore.json")];

const FIRST: [&str; 24] = [
    "Anna", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hanna", "Ivan", "Jana", "Kofi", "Lena",
    "Marek", "Nadia", "Omar", "Petra", "Quinn", "Rosa", "Sven", "Tomas", "Uma", "Vera", "Wei", "Yara",
];
const LAST: [&str; 20] = [
    "Ruiz", "Okafor", "Li", "Weiss", "Novak", "Haddad", "Silva", "Meyer", "Rossi", "Kim", "Patel", "Larsen",
    "Kowalski", "Nguyen", "Brown", "Moreau", "Tanaka", "Costa", "Ivanov", "Sato",
];
const ROLES: [&[&str]; 5] =
    [&["admin"], &["editor"], &["editor", "billing"], &["operator"], &["viewer", "support"]];
const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{}.0) Gecko/20100101 Firefox/{}.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
];
const TOOLS: [&str; 5] =
    ["python-requests/2.32.{}", "Go-http-client/2.0", "okhttp/4.12.{}", "curl/8.{}.0", "deploy-bot/1.{}"];

/// Someone, or something, that calls.
pub struct Person {
    pub id: String,
    pub name: String,
    pub machine: bool,
    pub roles: &'static [&'static str],
    pub agent: String,
    pub ip: String,
    secret: u64,
}

impl Person {
    /// The fingerprint of the token in use then.
    pub fn credential(&self, millis: i64) -> String {
        let period = if self.machine { 0 } else { millis / TOKEN_MILLIS };
        let mut random = Random::new(self.secret ^ (period as u64) << 20);
        format!("c1d2a47c:{:016x}{:08x}", random.next(), random.next() as u32)
    }
}

struct Tenant {
    name: String,
    people: Vec<Person>,
}

struct Service {
    name: &'static str,
    host: String,
    operations: Vec<Operation>,
}

pub struct World {
    services: Vec<Service>,
    tenants: Vec<Tenant>,
    peers: Vec<String>,
}

/// One call to be told.
pub struct Call<'w> {
    pub service: &'static str,
    pub host: &'w str,
    pub operation: &'w Operation,
    pub path: String,
    pub params: Vec<(&'w str, String)>,
    /// The id of what is created, if it is.
    pub fresh: String,
    pub tenant: &'w str,
    pub person: &'w Person,
    pub peer: &'w str,
}

impl World {
    pub fn new(seed: u64) -> World {
        let random = &mut Random::new(seed ^ 0x005e_ed0f_0a11);
        World {
            services: SERVICES.iter().map(|(name, file)| service(name, file)).collect(),
            tenants: (0..TENANTS).map(|number| tenant(random, number)).collect(),
            peers: (0..6).map(|n| format!("10.42.{}.{}", n, 3 + random.below(200))).collect(),
        }
    }

    /// What the sidecar of that number sees next.
    pub fn call(&self, random: &mut Random, producer: usize) -> Call<'_> {
        let service = &self.services[producer % self.services.len()];
        let tenant = &self.tenants[random.skewed(TENANTS) as usize];
        let person = &tenant.people[random.skewed(tenant.people.len() as u64) as usize];
        let operation = &service.operations[random.skewed(service.operations.len() as u64) as usize];
        let params: Vec<_> = operation
            .path_params
            .iter()
            .map(|p| (p.name.as_str(), id(random, p.kind == ParamKind::Integer, tenant)))
            .collect();
        let mut path = operation.route.clone();
        for (name, value) in &params {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let fresh = random.below(900_000_000).to_string();
        let (tenant, peer) = (tenant.name.as_str(), random.pick(&self.peers));
        Call {
            service: service.name,
            host: &service.host,
            operation,
            path,
            params,
            fresh,
            tenant,
            person,
            peer,
        }
    }
}

/// Of the things a tenant has, some are changed again and again.
fn id(random: &mut Random, number: bool, tenant: &Tenant) -> String {
    let things = 50 * tenant.people.len() as u64;
    let thing = random.skewed(things);
    if number {
        return (100_000 * tenant.people.len() as u64 + thing).to_string();
    }
    let mut own = Random::new(thing ^ (things << 32));
    own.uuid().to_string()
}

fn service(name: &'static str, file: &str) -> Service {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/openapi/specs").join(file);
    let (document, _) = openapi::load(&path).unwrap();
    let changes = |o: &Operation| matches!(o.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
    let operations = document.operations.into_iter().filter(changes).collect();
    Service { name, host: format!("{name}.example.com"), operations }
}

fn tenant(random: &mut Random, number: u64) -> Tenant {
    let people = (MOST_PEOPLE / (number + 1)).max(FEWEST_PEOPLE);
    let network = format!("{}.{}.{}", 20 + number, random.below(250), random.below(250));
    let people = (0..people).map(|n| person(random, number, n, &network)).collect();
    Tenant { name: format!("tenant-{number:03}"), people }
}

fn person(random: &mut Random, tenant: u64, number: u64, network: &str) -> Person {
    let machine = number % 9 == 1;
    let (first, last) = (random.pick(&FIRST), random.pick(&LAST));
    let (id, name) = match machine {
        true => (format!("spiffe://t{tenant}/svc-{number}"), String::new()),
        false => (format!("u-{tenant}-{number}"), format!("{first} {last}")),
    };
    let version = random.below(12).to_string();
    let agent = match machine {
        true => random.pick(&TOOLS).replace("{}", &version),
        false => random.pick(&BROWSERS).replace("{}", &format!("1{version}")),
    };
    let ip = format!("{network}.{}", random.below(250));
    Person { id, name, machine, roles: random.pick::<&[&str]>(&ROLES), agent, ip, secret: random.next() }
}
