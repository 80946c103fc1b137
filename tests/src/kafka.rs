//! A real Apache Kafka broker: one node, broker and controller in one process.

use crate::{Port, Process, deps, temp_dir, wait_for};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::FutureProducer;
use rdkafka::{Offset, TopicPartitionList};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A JVM on a busy machine takes its time.
const START: Duration = Duration::from_secs(90);
const REQUEST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Kafka {
    /// Where in `.deps` its program lies.
    item: &'static str,
    process: Option<Process>,
    dir: tempfile::TempDir,
    broker: Port,
    _controller: Port,
}

impl Kafka {
    /// A new, empty broker that answers.
    pub async fn start() -> Kafka {
        Kafka::start_installed("kafka").await
    }

    /// The same of another version: the one that `scripts/deps.sh` has put into `.deps/ITEM`.
    pub async fn start_installed(item: &'static str) -> Kafka {
        let dir = temp_dir("kafka");
        let (broker, controller) = (Port::reserve(), Port::reserve());
        std::fs::write(dir.path().join("server.properties"), properties(&broker, &controller, dir.path()))
            .unwrap();
        let mut kafka = Kafka { item, process: None, dir, broker, _controller: controller };
        kafka.format().await;
        kafka.restart().await;
        kafka
    }

    /// `host:port`, the same across restarts.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.broker.number())
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Where the broker keeps its messages.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Ends the broker without a word (SIGKILL).
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Asks the broker to end and waits until it has.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop(START).await;
        }
    }

    /// Starts the broker again (ending it first if need be) on the same ports and data.
    pub async fn restart(&mut self) {
        self.stop().await;
        let process =
            Process::start("kafka", self.java("kafka.Kafka", &["server.properties"]), self.dir.path());
        let client = self.client();
        wait_for(START, "kafka answers", async || {
            process.must_run();
            client.fetch_metadata(None, Duration::from_millis(500)).ok()
        })
        .await;
        self.process = Some(process);
    }

    /// Halts the broker: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.process.as_ref().unwrap().pause();
    }

    pub fn resume(&self) {
        self.process.as_ref().unwrap().resume();
    }

    pub async fn create_topic(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        for result in admin.create_topics([&topic], &options).await.unwrap() {
            result.unwrap();
        }
    }

    /// Every message of `topic` up to now, decompressed: key, value and headers of one message a
    /// line. Read by a plain consumer that belongs to no group and moves nobody's offsets.
    pub fn read_all(&self, topic: &str) -> Vec<Vec<u8>> {
        let client = self.client();
        let ends = ends(&client, topic);
        let mut assignment = TopicPartitionList::new();
        for (partition, low, high) in &ends {
            if high > low {
                assignment.add_partition_offset(topic, *partition, Offset::Offset(*low)).unwrap();
            }
        }
        // The last offset of a partition may be a control record that is never handed out, so the
        // end is where the position stands, not the last message seen.
        client.assign(&assignment).unwrap();
        let mut messages = Vec::new();
        let mut left: std::collections::HashMap<i32, i64> =
            ends.into_iter().filter(|(_, low, high)| high > low).map(|(p, _, high)| (p, high)).collect();
        while !left.is_empty() {
            match client.poll(REQUEST) {
                Some(Ok(message)) => {
                    if left.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
                        left.remove(&message.partition());
                    }
                    messages.push(whole(&message));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                Some(Err(e)) => panic!("reading {topic}: {e}"),
                None => panic!("reading {topic}: nothing within {REQUEST:?}, still open: {left:?}"),
            }
        }
        messages
    }

    /// How many messages `topic` holds.
    pub fn messages(&self, topic: &str) -> i64 {
        ends(&self.client(), topic).iter().map(|(_, low, high)| high - low).sum()
    }

    /// A client that writes.
    pub fn producer(&self) -> FutureProducer {
        self.config().set("linger.ms", "5").create().unwrap()
    }

    /// How many messages of `topic` the consumer group has not committed yet.
    pub fn lag(&self, topic: &str, group: &str) -> i64 {
        let client: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let ends = ends(&client, topic);
        let mut asked = TopicPartitionList::new();
        for (partition, ..) in &ends {
            asked.add_partition(topic, *partition);
        }
        let committed = client.committed_offsets(asked, REQUEST).unwrap();
        ends.iter()
            .map(|(partition, low, high)| {
                let done = committed.find_partition(topic, *partition).and_then(|p| p.offset().to_raw());
                high - done.filter(|offset| *offset >= 0).unwrap_or(*low)
            })
            .sum()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap()).set("log_level", "0");
        config
    }

    fn client(&self) -> BaseConsumer {
        self.config().set("group.id", "harness").set("enable.partition.eof", "true").create().unwrap()
    }

    async fn format(&self) {
        // The id may be anything: 16 bytes in Base64.
        let args = ["format", "--standalone", "-t", "c2lkZWxvZy10ZXN0cy0wMQ", "-c", "server.properties"];
        let tool = self.java("kafka.tools.StorageTool", &args);
        let status = Process::start("kafka-format", tool, self.dir.path()).end(START).await;
        assert!(status.success(), "kafka's storage could not be formatted");
    }

    fn java(&self, class: &str, args: &[&str]) -> Command {
        let mut java = Command::new("java");
        java.current_dir(self.dir.path())
            .args([
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
            ])
            .arg(deps(self.item).canonicalize().unwrap().join("lib/*"))
            .arg(class)
            .args(args);
        java
    }
}

/// Partition, first offset and end offset of each partition.
fn ends(client: &BaseConsumer, topic: &str) -> Vec<(i32, i64, i64)> {
    let metadata = client.fetch_metadata(Some(topic), REQUEST).unwrap();
    let partitions = metadata.topics().first().map(|t| t.partitions()).unwrap_or_default();
    let mut ends = Vec::new();
    for partition in partitions {
        let (low, high) = client.fetch_watermarks(topic, partition.id(), REQUEST).unwrap();
        ends.push((partition.id(), low, high));
    }
    ends
}

fn whole(message: &rdkafka::message::BorrowedMessage<'_>) -> Vec<u8> {
    use rdkafka::message::Headers;
    let mut bytes = message.key().unwrap_or_default().to_vec();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        bytes.extend_from_slice(b" ");
        bytes.extend_from_slice(header.key.as_bytes());
        bytes.extend_from_slice(b"=");
        bytes.extend_from_slice(header.value.unwrap_or_default());
    }
    bytes.extend_from_slice(b" ");
    bytes.extend_from_slice(message.payload().unwrap_or_default());
    bytes
}

fn properties(broker: &Port, controller: &Port, dir: &Path) -> String {
    let (broker, controller) = (broker.number(), controller.number());
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={}
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.partitions=4
",
        dir.join("data").display()
    )
}
