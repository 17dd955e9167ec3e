%%% @doc What a report must not show: passwords in a pool's `env', arguments of `on_start', the pickled names of a session.
%%%
%%% It is held in a fun. A crash report of a process, a supervisor's report of its child, an error report print their state and their
%%% arguments in full, and of a fun only that it is one. Two that hide the same are equal.
%%% @private
-module(py_secret).

-export([hide/1, reveal/1]).
-export_type([secret/0]).

-type secret() :: fun(() -> term()).

%% @doc Hide a value.
-spec hide(term()) -> secret().
hide(Value) -> fun() -> Value end.

%% @doc The value; one that is not hidden is itself.
-spec reveal(secret() | term()) -> term().
reveal(Secret) when is_function(Secret, 0) -> Secret();
reveal(Value) -> Value.
