//! Several statements in one trip to the connection's thread.
//!
//! sqlx gives each connection a thread of its own, and every statement is a trip there and back. The trip costs a
//! multiple of what a small write does, and all writes of the process share one such thread. So what a commit writes
//! after everything that can refuse was asked is put together here, and sent at once. Nothing can be decided between
//! two statements of a script; the first that fails ends it, and a statement can be made to fail
//! ([`Script::unless_one_row_changed`]).
//!
//! Values are bound, in the order of their `?`, through all statements; the text is made of constants only, so
//! few texts come to be, and the connection keeps each of them prepared.

use atelier_store::StoreError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

use crate::failed;

/// Statements to be sent together.
#[derive(Default)]
pub(crate) struct Script {
    text: String,
    arguments: SqliteArguments,
}

impl Script {
    /// Adds a statement; its `?` are the values that are bound from now on.
    pub(crate) fn statement(&mut self, text: &'static str) {
        if !self.text.is_empty() {
            self.text.push_str(";\n");
        }
        self.text.push_str(text);
    }

    /// Ends the script with an error, after which nothing of it may be kept, unless the statement before has changed one
    /// row. [`ended_there`] tells this error from others.
    pub(crate) fn unless_one_row_changed(&mut self) {
        self.statement("select iif(changes() = 1, 1, abs(-9223372036854775808))");
    }

    /// Binds the next `?`.
    pub(crate) fn bind<'v, V: Encode<'v, Sqlite> + Type<Sqlite>>(&mut self, value: V) -> Result<(), StoreError> {
        self.arguments.add(value).map_err(|error| failed(sqlx::Error::Encode(error)))
    }

    /// Runs all of it.
    pub(crate) async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_with(AssertSqlSafe(self.text), self.arguments);
        query.execute(connection).await.map(drop).map_err(failed)
    }
}

/// Whether a script has ended because a statement did not change one row: no other one adds up numbers of that size.
pub(crate) fn ended_there(error: &StoreError) -> bool {
    matches!(error, StoreError::Engine(text) if text.ends_with("integer overflow"))
}
