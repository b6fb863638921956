//! Behaviours that no source settles: each has an id, at least two possible behaviours, and one choice.
//!
//! `assumptions.toml` is the register for people (what is open, where, what each profile chooses); the
//! enums declared with [`assumption!`](crate::assumption) are the same list for code, so that every
//! behaviour is handled by an exhaustive `match`. A test holds both lists equal.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The register's text, compiled in.
const REGISTER: &str = include_str!("../assumptions.toml");

/// One open question, as an enum of its possible behaviours.
pub trait Assumption: Copy + 'static {
    /// Name of the enum.
    const NAME: &'static str;
    /// Id in the register.
    const ID: &'static str;
    /// Names of the behaviours, in the order of the variants.
    const BEHAVIOURS: &'static [&'static str];
    /// The behaviour of that name.
    fn from_behaviour(name: &str) -> Option<Self>;
}

/// Declares an [`Assumption`]: `assumption! { /// doc  pub enum Name("id") { Variant = "behaviour", } }`.
#[macro_export]
macro_rules! assumption {
    ($($(#[$doc:meta])* pub enum $name:ident($id:literal) {
        $($(#[$variant_doc:meta])* $variant:ident = $behaviour:literal),+ $(,)?
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }
        impl $crate::assumptions::Assumption for $name {
            const NAME: &'static str = stringify!($name);
            const ID: &'static str = $id;
            const BEHAVIOURS: &'static [&'static str] = &[$($behaviour),+];
            fn from_behaviour(name: &str) -> Option<Self> {
                match name { $($behaviour => Some(Self::$variant),)+ _ => None }
            }
        }
    )+};
}

/// Id and behaviours of one declared assumption, for the comparison with the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Name of the enum.
    pub name: &'static str,
    /// Id.
    pub id: &'static str,
    /// Names of the behaviours.
    pub behaviours: &'static [&'static str],
}

impl Declared {
    /// The declaration of `A`.
    pub const fn of<A: Assumption>() -> Self {
        Self {
            name: A::NAME,
            id: A::ID,
            behaviours: A::BEHAVIOURS,
        }
    }
}

/// Which column of the register the choices start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What the documents suggest.
    #[default]
    Documented,
    /// What hurts most.
    Hostile,
}

/// One entry of the register.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Id, `area.thing.question`.
    pub id: String,
    /// The question.
    pub text: String,
    /// Where it is left open.
    pub source: String,
    /// Possible behaviours.
    pub behaviours: Vec<String>,
    /// Choice of the documented profile.
    pub documented: String,
    /// Choice of the hostile profile.
    pub hostile: String,
}

#[derive(Deserialize)]
struct Register {
    assumption: Vec<Entry>,
}

/// All entries of the register.
pub fn register() -> Vec<Entry> {
    let register: Register = toml::from_str(REGISTER).expect("assumptions.toml is checked by a test");
    register.assumption
}

/// A choice that the register does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No such id.
    #[error("there is no assumption {0}")]
    UnknownId(String),
    /// No such behaviour.
    #[error("assumption {id} has no behaviour {behaviour}; it has {known}")]
    UnknownBehaviour {
        /// Id.
        id: String,
        /// The behaviour asked for.
        behaviour: String,
        /// Behaviours that exist.
        known: String,
    },
}

/// The behaviours in force.
#[derive(Debug, Clone)]
pub struct Assumptions {
    chosen: BTreeMap<String, String>,
}

impl Assumptions {
    /// The choices of a profile.
    pub fn profile(profile: Profile) -> Self {
        let chosen = register()
            .into_iter()
            .map(|entry| {
                let choice = match profile {
                    Profile::Documented => entry.documented,
                    Profile::Hostile => entry.hostile,
                };
                (entry.id, choice)
            })
            .collect();
        Self { chosen }
    }

    /// Overrides one choice.
    pub fn choose(&mut self, id: &str, behaviour: &str) -> Result<(), ChoiceError> {
        let entry = register()
            .into_iter()
            .find(|entry| entry.id == id)
            .ok_or_else(|| ChoiceError::UnknownId(id.to_owned()))?;
        if !entry.behaviours.iter().any(|known| known == behaviour) {
            return Err(ChoiceError::UnknownBehaviour {
                id: id.to_owned(),
                behaviour: behaviour.to_owned(),
                known: entry.behaviours.join(", "),
            });
        }
        self.chosen.insert(id.to_owned(), behaviour.to_owned());
        Ok(())
    }

    /// The behaviour in force.
    pub fn get<A: Assumption>(&self) -> A {
        self.chosen
            .get(A::ID)
            .and_then(|name| A::from_behaviour(name))
            .expect("a test holds the register and the declared behaviours equal")
    }

    /// Every id with its behaviour.
    pub fn chosen(&self) -> &BTreeMap<String, String> {
        &self.chosen
    }
}

assumption! {
    /// Time from a call to its event in the trail's log store; documents say about a minute.
    pub enum DeliveryDelay("actiontrail.delivery.delay") {
        /// One second.
        OneSecond = "1s",
        /// Sixty seconds.
        SixtySeconds = "60s",
    }
    /// Whether an event may arrive in the trail's log store more than once (same eventId).
    pub enum DeliveryDuplicates("actiontrail.delivery.duplicates") {
        /// Each event once.
        Never = "never",
        /// Every third event a second time, two seconds later.
        EveryThird = "every_third",
    }
    /// Whether events arrive in the order of the calls.
    pub enum DeliveryOrder("actiontrail.delivery.order") {
        /// In order.
        InOrder = "in_order",
        /// Every second event three seconds late.
        Swapped = "swapped",
    }
    /// Whether a trail still delivers the call that switched it off or deleted it.
    pub enum StopEvent("actiontrail.stop.event") {
        /// Delivered.
        Delivered = "delivered",
        /// Not delivered; LookupEvents has it.
        NotDelivered = "not_delivered",
    }
    /// Time from a call to LookupEvents showing it.
    pub enum LookupDelay("actiontrail.lookup.delay") {
        /// One second.
        OneSecond = "1s",
        /// Ten minutes.
        TenMinutes = "10m",
    }
    /// In which regions LookupEvents shows the events of global services.
    pub enum LookupGlobal("actiontrail.lookup.global") {
        /// In every region.
        EveryRegion = "every_region",
        /// In the region that stores global events only.
        StorageRegion = "storage_region",
    }
    /// When other calls see a trail that CreateTrail has answered.
    pub enum TrailVisible("actiontrail.create.visible") {
        /// At once.
        AtOnce = "at_once",
        /// After three seconds.
        AfterThreeSeconds = "after_3s",
    }
    /// When the trail's log store exists.
    pub enum StoreCreated("actiontrail.store.created") {
        /// When CreateTrail answers.
        WithTrail = "with_trail",
        /// Five seconds later.
        AfterFiveSeconds = "after_5s",
    }
    /// Whether ActionTrail makes its log store again once somebody deleted it.
    pub enum StoreRecreated("actiontrail.store.recreated") {
        /// Never.
        Never = "never",
        /// By UpdateTrail.
        OnUpdate = "on_update",
        /// With the next delivery.
        OnDelivery = "on_delivery",
    }
    /// Whether ActionTrail puts its own index back over a changed one.
    pub enum IndexRestored("actiontrail.index.restored") {
        /// It leaves the index alone.
        Kept = "kept",
        /// With a delivery, at most once a minute.
        Restored = "restored",
    }
    /// What UpdateTrail does to fields that are left out.
    pub enum UpdateOmitted("actiontrail.update.omitted") {
        /// They keep their values.
        Kept = "kept",
        /// They fall back to their defaults.
        Cleared = "cleared",
    }
    /// EventRW of a trail that was created without it.
    pub enum EventRwDefault("actiontrail.event_rw.default") {
        /// All.
        All = "all",
        /// Write.
        Write = "write",
    }
    /// What StopLogging does to a trail that never logged.
    pub enum StopFresh("actiontrail.stop.fresh") {
        /// Nothing.
        StaysFresh = "stays_fresh",
        /// It becomes Disable.
        Disables = "disables",
    }
    /// What CreateTrail does while the service-linked role is missing.
    pub enum LinkedRole("actiontrail.linked_role") {
        /// Makes it if the caller may, else NeedServiceLinkedRole.
        CreatedIfPermitted = "created_if_permitted",
        /// NeedServiceLinkedRole.
        Required = "required",
    }
    /// JSON type of eventVersion.
    pub enum EventVersion("actiontrail.event.version") {
        /// The number 1.
        Number = "number",
        /// The text "1".
        Text = "text",
    }
    /// Whether eventId equals the call's request id.
    pub enum EventIdForm("actiontrail.event.id") {
        /// It does.
        RequestId = "request_id",
        /// It is a lower-case UUID of its own.
        OwnUuid = "own_uuid",
    }
    /// __source__ of delivered events.
    pub enum EventSourceAddress("actiontrail.delivery.source") {
        /// actiontrail_internal.
        ServiceName = "service_name",
        /// Empty.
        Empty = "empty",
    }
    /// eventRW of AssumeRole.
    pub enum AssumeRoleRw("actiontrail.event.assume_role") {
        /// Write.
        Write = "write",
        /// Read.
        Read = "read",
    }
    /// serviceName of Log Service's events.
    pub enum LogServiceName("actiontrail.event.log_service") {
        /// Sls, the product code.
        Sls = "sls",
        /// Log, as in RAM actions.
        Log = "log",
    }
    /// HTTP status of InvalidSecurityToken.* and MissingSecurityToken.
    pub enum SecurityTokenStatus("rpc.security_token.status") {
        /// 400.
        BadRequest = "400",
        /// 403.
        Forbidden = "403",
    }
    /// HTTP status of SignatureDoesNotMatch.
    pub enum SignatureStatus("rpc.signature.status") {
        /// 400.
        BadRequest = "400",
        /// 403.
        Forbidden = "403",
    }
    /// HTTP status of InvalidAccessKeyId.NotFound.
    pub enum UnknownKeyStatus("rpc.unknown_key.status") {
        /// 404.
        NotFound = "404",
        /// 400.
        BadRequest = "400",
    }
    /// HTTP status of Throttling.User.
    pub enum ThrottlingStatus("rpc.throttling.status") {
        /// 400.
        BadRequest = "400",
        /// 429.
        TooManyRequests = "429",
        /// 503.
        ServiceUnavailable = "503",
    }
    /// Code of a call that RAM does not permit.
    pub enum DeniedCode("rpc.denied.code") {
        /// NoPermission.
        NoPermission = "no_permission",
        /// Forbidden.RAM.
        ForbiddenRam = "forbidden_ram",
    }
    /// Whether such an answer carries AccessDeniedDetail.
    pub enum DeniedDetail("rpc.denied.detail") {
        /// No.
        Absent = "absent",
        /// Yes.
        Present = "present",
    }
    /// Whether answers carry x-acs-request-id.
    pub enum RpcRequestIdHeader("rpc.request_id.header") {
        /// Yes.
        Present = "present",
        /// No: only the body has it.
        Absent = "absent",
    }
    /// Rate of Log Service's management calls; the figure is not published.
    pub enum MetaQps("sls.meta.qps") {
        /// Ten per second and account.
        Ten = "10",
        /// No limit.
        Unlimited = "unlimited",
    }
    /// Code of a call to Log Service without Authorization.
    pub enum MissingAuthorization("sls.auth.missing") {
        /// 401 Unauthorized.
        Unauthorized = "unauthorized",
        /// 400 MissAccessKeyId, as in 2021.
        MissAccessKeyId = "miss_access_key_id",
    }
    /// Code of a call to Log Service that is more than 15 minutes off.
    pub enum SkewCode("sls.skew.code") {
        /// RequestTimeExpired.
        Expired = "request_time_expired",
        /// RequestTimeTooSkewed, as in 2021.
        TooSkewed = "request_time_too_skewed",
    }
    /// When attaching and membership calls see a user or group that was just created.
    pub enum RamVisible("ram.create.visible") {
        /// At once.
        AtOnce = "at_once",
        /// After one second.
        AfterOneSecond = "after_1s",
    }
}

/// Everything declared in the engine's modules.
pub fn registered() -> Vec<Declared> {
    vec![
        Declared::of::<DeliveryDelay>(),
        Declared::of::<DeliveryDuplicates>(),
        Declared::of::<DeliveryOrder>(),
        Declared::of::<StopEvent>(),
        Declared::of::<LookupDelay>(),
        Declared::of::<LookupGlobal>(),
        Declared::of::<TrailVisible>(),
        Declared::of::<StoreCreated>(),
        Declared::of::<StoreRecreated>(),
        Declared::of::<IndexRestored>(),
        Declared::of::<UpdateOmitted>(),
        Declared::of::<EventRwDefault>(),
        Declared::of::<StopFresh>(),
        Declared::of::<LinkedRole>(),
        Declared::of::<EventVersion>(),
        Declared::of::<EventIdForm>(),
        Declared::of::<EventSourceAddress>(),
        Declared::of::<AssumeRoleRw>(),
        Declared::of::<LogServiceName>(),
        Declared::of::<SecurityTokenStatus>(),
        Declared::of::<SignatureStatus>(),
        Declared::of::<UnknownKeyStatus>(),
        Declared::of::<ThrottlingStatus>(),
        Declared::of::<DeniedCode>(),
        Declared::of::<DeniedDetail>(),
        Declared::of::<RpcRequestIdHeader>(),
        Declared::of::<MetaQps>(),
        Declared::of::<MissingAuthorization>(),
        Declared::of::<SkewCode>(),
        Declared::of::<RamVisible>(),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn declared() -> Vec<Declared> {
        let mut all = registered();
        all.extend(crate::log_service::assumptions::registered());
        all
    }

    #[test]
    fn register_and_code_know_the_same_behaviours() {
        let in_file: BTreeSet<(String, Vec<String>)> = register()
            .into_iter()
            .map(|entry| (entry.id, entry.behaviours))
            .collect();
        let in_code: BTreeSet<(String, Vec<String>)> = declared()
            .into_iter()
            .map(|entry| {
                (
                    entry.id.to_owned(),
                    entry.behaviours.iter().map(|&name| name.to_owned()).collect(),
                )
            })
            .collect();
        assert_eq!(in_file, in_code);
        assert_eq!(in_file.len(), register().len(), "an id stands twice");
    }

    /// An enum that nobody asks for would be an assumption without any behaviour.
    #[test]
    fn every_declared_assumption_is_asked_for() {
        let mut sources = String::new();
        let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    sources.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        for entry in declared() {
            let asked = format!("get::<{}>()", entry.name);
            assert!(sources.contains(&asked), "{} is never asked for", entry.id);
        }
    }

    #[test]
    fn every_entry_is_complete_and_has_a_choice_among_at_least_two() {
        for entry in register() {
            assert!(entry.behaviours.len() >= 2, "{} has one behaviour", entry.id);
            assert!(entry.behaviours.contains(&entry.documented), "{}", entry.id);
            assert!(entry.behaviours.contains(&entry.hostile), "{}", entry.id);
            assert!(!entry.text.is_empty() && !entry.source.is_empty(), "{}", entry.id);
        }
    }

    #[test]
    fn unknown_choices_are_refused() {
        let mut assumptions = Assumptions::profile(Profile::Documented);
        assert!(assumptions.choose("no.such", "x").is_err());
        assert!(assumptions.choose("actiontrail.lookup.delay", "x").is_err());
        assumptions.choose("actiontrail.lookup.delay", "10m").unwrap();
        assert_eq!(assumptions.get::<LookupDelay>(), LookupDelay::TenMinutes);
    }
}
