//! A notebook or image by what people call it: its id, or its name where only one has it.

use atelier_core::feature::Feature;
use atelier_core::id::{ImageId, NotebookId};
use atelier_wire::{Image, ImagePage, Notebook, NotebookPage};
use serde_json::Value;

use super::{encoded, record};
use crate::client::Client;
use crate::failure::Failure;
use crate::nearest::nearest;

/// As many as a page can hold: more than anybody may have.
pub(crate) const PAGE: usize = 1000;

/// The notebook that `text` names, as the server sent it.
pub(crate) async fn notebook(client: &Client, text: &str) -> Result<Value, Failure> {
    if text.parse::<NotebookId>().is_ok() {
        return client.get(&format!("/notebooks/{text}")).await;
    }
    // The API lists free instances apart.
    let free = format!("&feature={}", Feature::Free);
    let (mut found, free) = tokio::try_join!(named(client, text), page(client, &free))?;
    let all_names = || async {
        let others = page(client, "").await?;
        Ok(free.iter().chain(&others).map(|notebook| notebook.name.clone()).collect())
    };
    found.extend(free.iter().filter(|notebook| notebook.name == text).cloned());
    let id = resolve(text, &found, all_names).await?;
    client.get(&format!("/notebooks/{id}")).await
}

/// The notebooks with exactly this name.
pub(crate) async fn named(client: &Client, name: &str) -> Result<Vec<Notebook>, Failure> {
    let mut found = page(client, &format!("&name={}", encoded(name))).await?;
    found.retain(|notebook| notebook.name == name);
    Ok(found)
}

async fn page(client: &Client, filter: &str) -> Result<Vec<Notebook>, Failure> {
    let answer = client.get(&format!("/notebooks?limit={PAGE}{filter}")).await?;
    Ok(record::<NotebookPage>(&answer)?.data)
}

async fn resolve<F>(name: &str, found: &[Notebook], all_names: impl FnOnce() -> F) -> Result<String, Failure>
where
    F: Future<Output = Result<Vec<String>, Failure>>,
{
    match found {
        [only] => Ok(only.id.clone()),
        [] => {
            let names = all_names().await?;
            let names = names.iter().map(String::as_str);
            Err(missing("notebook", name, names, "`atelier notebook list` lists yours"))
        }
        several => {
            let ids: Vec<_> = several.iter().map(|n| format!("{} ({})", n.id, n.status)).collect();
            let message = format!("{} notebooks are called `{name}`: {}", several.len(), ids.join(", "));
            Err(Failure::new(message).hint("name one of them by its id"))
        }
    }
}

/// There is no such thing; perhaps another was meant.
pub(crate) fn missing<'a>(
    kind: &str,
    name: &str,
    names: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> Failure {
    let failure = Failure::new(format!("there is no {kind} `{name}`"));
    match nearest(name, names) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint(otherwise),
    }
}

/// The id of the image that `text` names.
pub(crate) async fn image(client: &Client, text: &str) -> Result<String, Failure> {
    if text.parse::<ImageId>().is_ok() {
        return Ok(text.to_owned());
    }
    let answer = client.get(&format!("/images?limit={PAGE}")).await?;
    let images: Vec<Image> = record::<ImagePage>(&answer)?.data;
    let called = |image: &&Image| image.name == text || image.show_name.as_deref() == Some(text);
    match images.iter().filter(called).collect::<Vec<_>>().as_slice() {
        [only] => Ok(only.id.clone()),
        [] => {
            let names = images.iter().map(|image| image.name.as_str());
            Err(missing("image", text, names, "`atelier image list` lists them"))
        }
        several => {
            let ids: Vec<_> = several.iter().map(|image| image.id.as_str()).collect();
            Err(Failure::new(format!("several images are called `{text}`: {}", ids.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(id: &str, name: &str) -> Notebook {
        serde_json::from_value(json!({
            "id": id, "name": name, "status": "STOPPED", "feature": "NOTEBOOK", "flavor": "f", "workspace_id": "0",
            "image": {"id": "i", "name": "n", "swr_path": "p", "type": "BUILD_IN"},
            "lease": {"create_at": 0, "update_at": 0, "duration": -1, "enable": false, "type": "TIMING"},
            "create_at": 0, "update_at": 0,
        }))
        .unwrap()
    }

    async fn resolved(name: &str, found: &[Notebook]) -> Result<String, String> {
        resolve(name, found, || async { Ok(vec!["hello".into(), "other".into()]) }).await.map_err(|f| f.to_string())
    }

    #[tokio::test]
    async fn a_name_that_one_notebook_has_is_that_notebook() {
        assert_eq!(resolved("a", &[record("1", "a")]).await, Ok("1".into()));
    }

    #[tokio::test]
    async fn a_name_that_two_have_is_refused_with_their_ids() {
        let told = resolved("a", &[record("1", "a"), record("2", "a")]).await.unwrap_err();
        assert_eq!(told, "2 notebooks are called `a`: 1 (STOPPED), 2 (STOPPED)\nhint: name one of them by its id");
    }

    #[tokio::test]
    async fn a_mistyped_name_gets_the_nearest_one_as_a_hint() {
        assert!(resolved("helo", &[]).await.unwrap_err().ends_with("hint: did you mean `hello`?"));
        assert!(resolved("zzz", &[]).await.unwrap_err().contains("notebook list"));
    }
}
