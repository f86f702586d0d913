use super::*;

fn fault(change: impl Fn(&mut SansPbxConfig)) -> Option<String> {
    let mut config = config("http://127.0.0.1:9/pbxadmin/sanpbxapi");
    change(&mut config);
    SansPbx::new(config).err().map(|error| error.to_string())
}

#[test]
fn a_faulty_configuration_is_refused_with_the_name_of_the_fault() {
    assert_eq!(fault(|_| ()), None);
    type Change = fn(&mut SansPbxConfig);
    let table: [(&str, Change); 20] = [
        ("base_url", |c| c.base_url = String::new()),
        ("base_url", |c| c.base_url = "https://u:p@h".to_owned()),
        ("access_token", |c| c.access_token = Secret::new(" ")),
        ("access_token", |c| c.access_token = Secret::new("a\nb")),
        ("access_key", |c| c.access_key = Secret::new("")),
        ("api_user", |c| {
            c.basic = Some((String::new(), Secret::new("p")))
        }),
        ("api_password", |c| {
            c.basic = Some(("u".to_owned(), Secret::new("")))
        }),
        ("cps", |c| c.cps = 0.0),
        ("cps", |c| c.cps = f64::NAN),
        ("number_format", |c| c.to_format = "0{nation}".to_owned()),
        ("caller_id_format", |c| c.from_format = String::new()),
        ("country_code", |c| c.country_code = "+91".to_owned()),
        ("country_code", |c| c.country_code = String::new()),
        ("caller_ids", |c| c.country_code = "44".to_owned()),
        ("callback_sources", |c| c.callback_sources = Vec::new()),
        ("callback_sources", |c| {
            c.callback_sources = vec!["pbx.example".to_owned()]
        }),
        ("callback_sources", |c| {
            c.callback_sources = vec!["10.0.0.1/8".to_owned()]
        }),
        ("trusted_proxies", |c| {
            c.trusted_proxies = vec!["*".to_owned()]
        }),
        ("max_call_s", |c| c.longest_call = Duration::from_secs(59)),
        ("max_call_s", |c| {
            c.longest_call = Duration::from_secs(86_401)
        }),
    ];
    for (n, (name, change)) in table.into_iter().enumerate() {
        let error = fault(change);
        assert!(
            error.as_ref().is_some_and(|text| text.contains(name)),
            "{n}: {error:?}"
        );
    }
    // A caller id from abroad is no fault where its country is written.
    assert_eq!(
        fault(|c| {
            c.country_code = "44".to_owned();
            c.from_format = "{e164}".to_owned();
        }),
        None
    );
}

#[test]
fn nothing_prints_the_keys() {
    let mut config = config("http://127.0.0.1:9");
    config.basic = Some(("me".to_owned(), Secret::new("p4ss-of-mine")));
    let text = format!("{config:?}");
    assert!(
        !text.contains("of-mine") && !text.contains("1140001234"),
        "{text}"
    );
}

#[test]
fn it_says_what_it_cannot_do() {
    let mut config = config("http://127.0.0.1:9");
    config.longest_call = Duration::from_secs(900);
    let sans = SansPbx::new(config).unwrap();
    let can = &sans.profile().capabilities;
    assert!(
        !can.pollable && !can.ringing_event && !can.signed_callbacks,
        "{can:?}"
    );
    assert_eq!(can.longest_call, Some(Duration::from_secs(900)));
}

#[tokio::test]
async fn what_it_cannot_be_asked_is_not_asked() {
    let server = Server::start([]).await;
    let sans = sans(&server.base_url);
    let (to, from) = (dial_request().to, dial_request().from);
    let call = dial::call_id("api-1").unwrap();
    assert!(matches!(
        sans.look(&call).await,
        Err(CarrierError::Unsupported)
    ));
    assert!(matches!(
        sans.find(&to, &from).await,
        Err(CarrierError::Unsupported)
    ));
    assert!(matches!(sans.live().await, Err(CarrierError::Unsupported)));
    assert!(server.seen().is_empty());
}
