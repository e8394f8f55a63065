//! What users type, parsed into types that hold only what is allowed.

use crate::Error;

/// A user name: 3 to 32 of `a-z 0-9 _ . -`, folded to lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Username(String);

impl Username {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let folded = text.to_ascii_lowercase();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if (3..=32).contains(&folded.len()) && folded.bytes().all(allowed) {
            Ok(Self(folded))
        } else {
            Err(invalid(
                "username",
                "must be 3 to 32 of a-z, 0-9, '_', '.' and '-'",
            ))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address with its domain in lower case.
///
/// Checked for its form only (RFC 5321 lengths, a domain of two labels or more): whether mail
/// arrives only mail can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Email(String);

impl Email {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        Self::try_parse(text).ok_or_else(|| invalid("email", "must be an e-mail address"))
    }

    fn try_parse(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        let visible = |c: char| !c.is_whitespace() && !is_hidden(c) && !"@,;<>\"".contains(c);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let fits = (1..=64).contains(&local.len())
            && text.len() <= 254
            && local.chars().all(visible)
            && domain.contains('.')
            && domain.split('.').all(label);
        fits.then(|| Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What is unique: two addresses that differ in case only are one.
    pub(crate) fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

/// A phone number as ITU-T E.164 writes it: `+` and 7 to 15 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phone(String);

impl Phone {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let fits = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            // No country code begins with it.
            && !digits.starts_with('0');
        match fits {
            true => Ok(Self(text.to_owned())),
            false => Err(invalid("phone", "must be '+' and 7 to 15 digits")),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password to hash or to compare. Its text appears nowhere: no `Display`, an empty `Debug`.
#[derive(Clone)]
pub(crate) struct Password(String);

impl Password {
    /// A new password: 8 to 128 characters, of any kind (NIST SP 800-63B: length, no rules).
    pub(crate) fn parse(text: String) -> Result<Self, Error> {
        if (8..=128).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(invalid("password", "must have 8 to 128 characters"))
        }
    }

    /// A password to compare: anything, the answer is yes or no.
    pub(crate) const fn presented(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text, to be sent to whoever compares it.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// A name to show: 1 to 64 characters, none of which hides, or turns the writing of others round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DisplayName(String);

impl DisplayName {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.chars().any(is_hidden) {
            let why = "must have no invisible control characters, nor such as change the direction of writing";
            return Err(invalid("display_name", why));
        }
        let shows = |c: char| !c.is_whitespace() && !is_blank(c);
        if (1..=64).contains(&text.chars().count()) && text.chars().any(shows) {
            Ok(Self(text.to_owned()))
        } else {
            let why = "must have 1 to 64 characters, and not only blank ones";
            Err(invalid("display_name", why))
        }
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// Characters that nobody sees and that make a text look like another one: controls, separators of lines, marks and embeddings of
/// direction (UAX #9), fillers of no width, tags. Joiners (U+200C, U+200D) are not among them: Persian and emoji are
/// written with them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{feff}'
        )
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

/// Characters of which alone no name consists: they may stand beside others, and show nothing by themselves.
const fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{2800}'
    ) || matches!(
        c,
        '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
    )
}

/// What a user logs in with: the kind of name and the claim's value, if it can be one at all.
pub(crate) fn login_name(text: &str) -> Option<(&'static str, String)> {
    if text.contains('@') {
        Email::parse(text).ok().map(|email| (EMAIL, email.key()))
    } else if text.starts_with('+') {
        Phone::parse(text).ok().map(|phone| (PHONE, phone.0))
    } else {
        let username = Username::parse(text).ok();
        username.map(|username| (USERNAME, username.0))
    }
}

/// The kind of claim that makes user names unique.
pub(crate) const USERNAME: &str = "username";
/// The kind of claim that makes e-mail addresses unique.
pub(crate) const EMAIL: &str = "email";
/// The kind of claim that makes phone numbers unique.
pub(crate) const PHONE: &str = "phone";

fn invalid(field: &str, why: &str) -> Error {
    Error::Invalid {
        field: field.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_are_folded_and_limited() {
        assert_eq!(
            Username::parse("Anna_B.c-9").unwrap().as_str(),
            "anna_b.c-9"
        );
        for wrong in ["", "ab", &"a".repeat(33), "a b", "a@b", "änna", "a/b"] {
            assert!(Username::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn emails_keep_their_local_part_and_compare_without_case() {
        let email = Email::parse("Anna.B+x@Mail.EXAMPLE.org").unwrap();
        assert_eq!(email.as_str(), "Anna.B+x@mail.example.org");
        assert_eq!(email.key(), "anna.b+x@mail.example.org");
        for wrong in [
            "",
            "a",
            "@b.org",
            "a@",
            "a@b",
            "a b@c.org",
            "a@b..org",
            "a@-b.org",
            "a@b@c.org",
            "a@b.org ",
            "a@b_c.org",
            &format!("{}@b.org", "a".repeat(65)),
        ] {
            assert!(Email::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn phone_numbers_are_e164() {
        for right in ["+4930901820", "+1234567", "+123456789012345"] {
            assert_eq!(Phone::parse(right).unwrap().as_str(), right);
            assert_eq!(login_name(right), Some((PHONE, right.to_owned())));
        }
        for wrong in [
            "",
            "+",
            "4930901820",
            "+123456",
            "+1234567890123456",
            "+49 30 901820",
            "+0493090182",
            "+49309018a0",
            "++4930901820",
            "+٤٩٣٠٩٠١٨٢٠",
        ] {
            assert!(Phone::parse(wrong).is_err(), "{wrong}");
            assert_eq!(
                login_name(wrong)
                    .map(|(kind, _)| kind)
                    .filter(|kind| *kind == PHONE),
                None
            );
        }
    }

    #[test]
    fn passwords_are_limited_by_characters_only() {
        for right in ["12345678", "ääääääää", &"x".repeat(128)] {
            assert!(Password::parse(right.to_owned()).is_ok());
        }
        for wrong in ["1234567", &"x".repeat(129)] {
            assert!(Password::parse(wrong.to_owned()).is_err());
        }
        assert_eq!(
            format!("{:?}", Password::presented("secret".into())),
            "Password"
        );
    }
}
