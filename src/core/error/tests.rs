use super::*;

#[test]
fn an_error_of_credentials_has_the_call_that_failed_as_its_cause() {
    let call = CloudError {
        request_id: Some("1-2".to_owned()),
        ..CloudError::new(CloudErrorKind::AccessDenied, "NoPermission")
    };
    assert_eq!(call.to_string(), "NoPermission, request id 1-2");
    for error in [
        CredentialsError::AssumeRoleDenied(call.clone()),
        CredentialsError::AccountUnverified(call.clone()),
        CredentialsError::StsUnavailable(call.clone()),
        CredentialsError::OwnSourceFailed(call.clone()),
    ] {
        let cause = std::error::Error::source(&error).unwrap().downcast_ref();
        assert_eq!(cause, Some(&call), "{error}");
    }
}

#[test]
fn only_a_request_without_an_answer_can_have_had_an_effect() {
    for answered in [
        KubeError::Conflict,
        KubeError::NotFound,
        KubeError::Forbidden,
        KubeError::Invalid,
    ] {
        assert!(answered.had_no_effect(), "{answered}");
    }
    assert!(!KubeError::Unavailable.had_no_effect());
}
