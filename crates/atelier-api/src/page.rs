//! The arithmetic of pages. Offsets and limits count records; pages count from 0.

use atelier_core::limits::MAX_PAGE;
use atelier_core::refusal::Refusal;

use crate::query::Query;

/// Which records were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) offset: u32,
    /// `None`: all of them.
    pub(crate) limit: Option<u32>,
}

/// How a page describes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    pub(crate) current: u32,
    pub(crate) pages: u64,
    pub(crate) size: u64,
}

impl Window {
    /// The window of a query; `default` is the limit when none is given.
    pub(crate) fn of(query: &Query, default: Option<u32>) -> Result<Self, Refusal> {
        let limit = query.number_within("limit", 1, MAX_PAGE)?.or(default);
        let offset = query.number_within("offset", 0, i32::MAX.unsigned_abs())?.unwrap_or(0);
        Ok(Self { offset, limit })
    }

    /// The same for a list that may also be asked for none of its records.
    pub(crate) fn from_none(query: &Query, default: u32) -> Result<Self, Refusal> {
        let limit = query.number_within("limit", 0, MAX_PAGE)?.unwrap_or(default);
        let offset = query.number_within("offset", 0, i32::MAX.unsigned_abs())?.unwrap_or(0);
        Ok(Self { offset, limit: Some(limit) })
    }

    /// The numbers of the page, when there are `total` records in all.
    ///
    /// Without a limit there is one page, which calls itself 1: so do the contract's unpaged lists.
    pub(crate) fn paging(self, total: u64) -> Paging {
        match self.limit {
            None => Paging { current: 1, pages: 1, size: total },
            // Pages of no records: there are none of them.
            Some(0) => Paging { current: 0, pages: 0, size: 0 },
            Some(limit) => {
                Paging { current: self.offset / limit, pages: total.div_ceil(u64::from(limit)), size: u64::from(limit) }
            }
        }
    }

    /// The records of the window.
    pub(crate) fn cut<T>(self, records: Vec<T>) -> Vec<T> {
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        records.into_iter().skip(self.offset as usize).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_out_as_in_the_contract_s_examples() {
        for (offset, limit, total, current, pages) in [
            (0, 10, 2, 0, 1),
            (8, 2, 107, 4, 54),
            (0, 10, 0, 0, 0),
            (10, 10, 20, 1, 2),
            (9, 10, 20, 0, 2),
            (50, 10, 21, 5, 3),
        ] {
            let window = Window { offset, limit: Some(limit) };
            let expected = Paging { current, pages, size: u64::from(limit) };
            assert_eq!(window.paging(total), expected, "offset {offset} limit {limit} total {total}");
        }
        let unpaged = Window { offset: 0, limit: None };
        assert_eq!(unpaged.paging(4), Paging { current: 1, pages: 1, size: 4 });
        let of_nothing = Window::from_none(&Query::of("limit=0&offset=3"), 1000).unwrap();
        assert_eq!(of_nothing.paging(4), Paging { current: 0, pages: 0, size: 0 });
    }

    #[test]
    fn a_window_cuts_records_not_pages() {
        let cut = |offset, limit| Window { offset, limit }.cut(vec![1, 2, 3, 4, 5]);
        assert_eq!(cut(1, Some(2)), [2, 3]);
        assert_eq!(cut(4, Some(2)), [5]);
        assert_eq!(cut(9, Some(2)), [0; 0]);
        assert_eq!(cut(2, None), [3, 4, 5]);
    }

    #[test]
    fn limits_run_from_one_to_a_thousand() {
        let window = |query: &str| Window::of(&Query::of(query), Some(10));
        assert_eq!(window(""), Ok(Window { offset: 0, limit: Some(10) }));
        assert_eq!(window("limit=1000&offset=2147483647"), Ok(Window { offset: 2_147_483_647, limit: Some(1000) }));
        for bad in ["limit=0", "limit=1001", "offset=-1", "offset=2147483648"] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
