// Starts the dashboard's behaviours. Each lives in its own module and works on what is in the page.
import "./styles/main.css";
import "htmx.org";
import { startConfirmations } from "./confirm";
import { startCopying } from "./copy";
import { startDialogs } from "./dialogs";
import { startForms } from "./forms";
import { startLive } from "./live";
import { startNavigation } from "./navigation";
import { startParameters } from "./parameters";
import { startPasskeys } from "./passkeys";
import { startPlayground } from "./playground";
import { startSettings } from "./settings";
import { startSteps } from "./steps/editor";
import { startTheme } from "./theme";

startTheme();
startNavigation();
startCopying();
startDialogs();
startConfirmations();
startForms();
startParameters();
startSettings();
startSteps();
startPasskeys();
startPlayground();
startLive();
