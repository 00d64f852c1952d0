// Sends the answer on its way to the application (OAuth 2.0 Form Post Response Mode §2); without scripts, the button does.
document.getElementById("answer").submit();
