mod errors;
mod forms;
mod oracle;
