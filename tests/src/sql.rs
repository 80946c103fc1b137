//! Questions to ClickHouse, as a user asks them: SQL over HTTP.

use serde_json::Value;

/// Where ClickHouse answers, and as whom to ask.
#[derive(Debug, Clone)]
pub struct Sql {
    url: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

impl Sql {
    pub fn new(url: &str, user: &str, password: &str) -> Sql {
        let http = reqwest::Client::new();
        Sql { url: url.to_owned(), user: user.to_owned(), password: password.to_owned(), http }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The rows of the answer, each a JSON object; or what ClickHouse says is wrong.
    pub async fn try_query(&self, sql: &str) -> Result<Vec<Value>, String> {
        let text = self.text(&format!("{sql} FORMAT JSONEachRow")).await?;
        Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    pub async fn query(&self, sql: &str) -> Vec<Value> {
        self.try_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The one number the query answers with.
    pub async fn number(&self, sql: &str) -> i64 {
        let text = self.text(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        text.trim().parse().unwrap_or_else(|_| panic!("{sql}: not a number: {text}"))
    }

    /// Every row of every table of a database: files of ClickHouse are compressed, this is not.
    pub async fn dump(&self, database: &str) -> String {
        let tables = format!("SELECT name FROM system.tables WHERE database = '{database}' ORDER BY name");
        let tables = self.query(&tables).await;
        assert!(!tables.is_empty(), "no tables in {database}");
        let mut dump = String::new();
        for table in tables {
            let rows =
                format!("SELECT * FROM {database}.{} FORMAT JSONEachRow", table["name"].as_str().unwrap());
            dump += &self.text(&rows).await.unwrap_or_else(|e| panic!("{rows}: {e}"));
        }
        dump
    }

    /// The whole answer as text; the query names its own format.
    pub async fn text(&self, sql: &str) -> Result<String, String> {
        let answer = self
            .http
            .post(&self.url)
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", &self.password)
            .body(sql.to_owned())
            .send()
            .await
            .map_err(|e| format!("{e:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| format!("{e:?}"))?;
        if status.is_success() { Ok(text) } else { Err(text) }
    }
}
