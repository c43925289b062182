use super::*;

fn versions() -> Versions {
    Versions { new: "1.1.0".parse().unwrap(), previous: "1.0.0".parse().unwrap() }
}

fn on(starts: u8, forgiven: u8) -> Trial {
    Trial::On(OnTrial { versions: versions(), starts, forgiven })
}

fn fell_back(why: Why) -> Trial {
    Trial::FellBack(FellBack { versions: versions(), why })
}

fn of_names(names: &[&str]) -> Trial {
    Trial::of_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

/// The format of version 1. Launchers and agents of all later versions read it: these texts never change.
#[test]
fn names_of_format_1_are_read_and_written_as_ever() {
    let golden = [
        (on(0, 0), "trial-v1,new=1.1.0,previous=1.0.0,starts=0,forgiven=0"),
        (on(2, 32), "trial-v1,new=1.1.0,previous=1.0.0,starts=2,forgiven=32"),
        (fell_back(Why::Starts), "trial-v1,new=1.1.0,previous=1.0.0,fell-back=starts"),
        (fell_back(Why::CannotRun { errno: 8 }), "trial-v1,new=1.1.0,previous=1.0.0,fell-back=errno-8"),
    ];
    for (trial, name) in golden {
        assert_eq!(trial.file_name().as_deref(), Some(name));
        assert_eq!(of_names(&[name]), trial);
    }
    assert_eq!(of_names(&[]), Trial::None);
}

#[test]
fn anything_else_is_damage_that_says_what_it_found() {
    for name in [
        "trial",
        "trial-v1",
        "trial-v1,",
        "trial-v2,new=1.1.0,previous=1.0.0,starts=0,forgiven=0",
        "trial-v1,new=1.1.0,previous=1.0.0",
        "trial-v1,new=1.1.0,previous=1.0.0,starts=0",
        "trial-v1,new=1.1.0,previous=1.0.0,starts=-1,forgiven=0",
        "trial-v1,new=1.1.0,previous=1.0.0,starts=+1,forgiven=0",
        "trial-v1,new=1.1.0,previous=1.0.0,starts=01,forgiven=0",
        "trial-v1,new=1.1.0,previous=1.0.0,starts=256,forgiven=0",
        "trial-v1,new=1.1.0,previous=1.0.0,starts=0,forgiven=0,more=1",
        "trial-v1,previous=1.0.0,new=1.1.0,starts=0,forgiven=0",
        "trial-v1,new=,previous=1.0.0,starts=0,forgiven=0",
        "trial-v1,new=1.1.0,previous=../x,starts=0,forgiven=0",
        "trial-v1,new=1.1.0,previous=1.0.0,fell-back=",
        "trial-v1,new=1.1.0,previous=1.0.0,fell-back=errno-",
        "trial-v1,new=1.1.0,previous=1.0.0,fell-back=weather",
        "trial-v1,new=1.1.0,previous=1.0.0,fell-back=starts ",
        "trial-\u{fffd}",
    ] {
        let Trial::Damaged { what } = of_names(&[name]) else { panic!("{name} was read") };
        assert!(what.contains(name), "{what}");
    }
}

#[test]
fn of_several_names_of_one_trial_the_furthest_is_true() {
    let way = [on(0, 0), on(1, 0), on(3, 0), on(0, 1), on(1, 1), on(0, 2), fell_back(Why::Starts)];
    let names: Vec<String> = way.iter().filter_map(Trial::file_name).collect();
    for (index, furthest) in way.iter().enumerate() {
        let mut until = names[..=index].to_vec();
        assert_eq!(Trial::of_names(&until), *furthest);
        until.reverse();
        until.push("trial-left-by-somebody".to_owned());
        assert_eq!(Trial::of_names(&until), *furthest);
    }
}

#[test]
fn trials_of_different_versions_are_damage() {
    let other = "trial-v1,new=1.2.0,previous=1.0.0,starts=0,forgiven=0";
    let Trial::Damaged { what } = of_names(&[other, &on(0, 0).file_name().unwrap()]) else {
        panic!("one of two was taken")
    };
    assert!(what.contains("1.1.0") && what.contains("1.2.0"), "{what}");
}

#[test]
fn versions_of_dpkg_and_rpm_are_taken_and_nothing_that_could_leave_a_name() {
    let longest = "1".repeat(VERSION_BYTES_MAX);
    for text in ["1.1.0", "1:2.0~rc1+dfsg-3", "4.18.0_553^20240101", "v2", &longest] {
        assert_eq!(text.parse::<Version>().unwrap().as_str(), text);
    }
    let longer = "1".repeat(VERSION_BYTES_MAX + 1);
    for text in ["", ".", "-1", "1/2", "1,2", "1=2", "1 2", "1\n", "1\0", "é", &longer] {
        let error = text.parse::<Version>().unwrap_err().to_string();
        assert!(error.contains("letters, digits"), "{error}");
    }
    let longest: Version = longest.parse().unwrap();
    let versions = Versions { new: longest.clone(), previous: longest };
    let on = Trial::On(OnTrial { versions, starts: 255, forgiven: 255 });
    assert!(on.file_name().unwrap().len() < 254);
}

#[test]
fn a_trial_says_what_it_is_in_one_line() {
    for (trial, said) in [
        (Trial::None, "no agent is on trial"),
        (on(2, 0), "agent 1.1.0 is on trial over 1.0.0, 2 of 3 starts used"),
        (fell_back(Why::Starts), "agent 1.1.0 was given up for 1.0.0: 3 starts without a confirmation"),
        (
            fell_back(Why::CannotRun { errno: 8 }),
            "agent 1.1.0 was given up for 1.0.0: it cannot be run: Exec format error (os error 8)",
        ),
        (Trial::Damaged { what: "moths".to_owned() }, "the trial cannot be read: moths"),
    ] {
        assert_eq!(trial.to_string(), said);
    }
}
