//! Evaluates a statement's condition operators against the request context.
//! The critical case is a condition on a context key that the request does not have: it must not widen a grant.

use std::net::IpAddr;

use super::document::Condition;
use super::{Context, matches};

const OPERATORS: [&str; 21] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "IpAddress",
    "NotIpAddress",
    "Bool",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
];

pub(crate) fn known(operator: &str) -> bool {
    OPERATORS.contains(&operator)
}

/// Parses an address range: address and prefix length. `None` if the text is neither an address nor a range.
pub(crate) fn range(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(whole);
    (length <= whole).then_some((address, length))
}

fn in_range(address: IpAddr, text: &str) -> bool {
    let Some((network, length)) = range(text) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn ordered<T: PartialOrd>(relation: &str, fact: &T, value: &T) -> bool {
    match relation {
        "Equals" => fact == value,
        "LessThan" => fact < value,
        "LessThanEquals" => fact <= value,
        "GreaterThan" => fact > value,
        "GreaterThanEquals" => fact >= value,
        _ => false,
    }
}

fn one_holds(operator: &str, fact: &str, value: &str) -> bool {
    if let Some(relation) = operator.strip_prefix("Numeric") {
        return match (fact.parse::<f64>(), value.parse::<f64>()) {
            (Ok(fact), Ok(value)) => ordered(relation, &fact, &value),
            _ => false,
        };
    }
    if let Some(relation) = operator.strip_prefix("Date") {
        return match (fact.parse::<jiff::Timestamp>(), value.parse::<jiff::Timestamp>()) {
            (Ok(fact), Ok(value)) => ordered(relation, &fact, &value),
            _ => false,
        };
    }
    match operator {
        "StringEquals" => fact == value,
        "StringEqualsIgnoreCase" | "Bool" => fact.eq_ignore_ascii_case(value),
        "StringLike" => matches(value, fact),
        "IpAddress" => fact.parse().is_ok_and(|address| in_range(address, value)),
        _ => false,
    }
}

/// Returns whether a condition holds. A missing context key fails a positive operator and satisfies a negative one. A
/// negative operator holds only if no value matches.
pub(crate) fn holds(condition: &Condition, context: &Context) -> bool {
    let operator = condition.operator.as_str();
    let positive = operator.replacen("Not", "", 1);
    let negative = positive != operator;
    let any = context
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(&condition.key))
        .is_some_and(|(_, fact)| {
            condition
                .values
                .iter()
                .any(|value| one_holds(&positive, fact, value))
        });
    any != negative
}
