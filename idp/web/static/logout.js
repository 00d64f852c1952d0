// Goes on to the application once the frames that sign out of others have loaded, or when one of them takes too long.
const onwards = () => window.location.replace(document.getElementById("onwards").href);
window.addEventListener("load", onwards);
setTimeout(onwards, 3000);
