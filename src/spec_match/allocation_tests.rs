//! A plain path is matched without asking for memory. The test binary's allocator counts, by thread,
//! so that tests beside this one do not disturb it.

use super::*;
use crate::config::BasePath;
use crate::openapi::Document;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often memory is asked for while something runs.
fn asked(run: impl FnOnce()) -> usize {
    let before = ASKED.get();
    run();
    ASKED.get() - before
}

#[test]
fn plain_paths_are_matched_without_allocation() {
    let templates = [
        "/user",
        "/repos/{owner}/{repo}/issues/{number}",
        "/repos/{owner}/{repo}/compare/{base}...{head}",
        "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}",
        "/static/{path+}",
    ];
    let operation = |template: &&str| Operation {
        method: "GET".into(),
        template: template.to_string(),
        bases: vec![String::new()],
        ..Operation::default()
    };
    let document = Document {
        name: "api.yaml".into(),
        version: "3.0.3".into(),
        api_version: "1".into(),
        paths: templates.len(),
        skipped: 0,
        unread: 0,
        operations: templates.iter().map(operation).collect(),
    };
    let (matcher, _) = SpecMatcher::new(vec![document], &BasePath::Auto);
    assert!(asked(|| drop(vec![1])) > 0, "the allocator counts");
    for (target, template) in [
        ("/user", Some(0)),
        ("/user?page=2", Some(0)),
        ("/repos/rust-lang/rust/issues/1347", Some(1)),
        ("/repos/rust-lang/rust/compare/main...next", Some(2)),
        ("/1/2/3/4/5/6/7/8", Some(3)),
        ("/static/css/site/main.css", Some(4)),
        ("/nothing/of/the/kind", None),
    ] {
        let mut found = None;
        let count = asked(|| {
            let look = matcher.find("GET", target.as_bytes(), &|_| None);
            found = look.operation.map(|o| o.template.as_str());
        });
        assert_eq!((found, count), (template.map(|i: usize| templates[i]), 0), "{target}");
    }
}
