%%% ErlPort's module `python' by way of ours, so that tests which call the one run against the other.
%%%
%%% The environment variable `ERLPORT_PROGRAM' names what of Python is started, where it is not ours.
-module(python).

-export([start/0, start/1, start/2, start_link/0, start_link/1, start_link/2, stop/1, call/4, call/5, cast/2]).

start() -> start([]).

start(Options) when is_list(Options) -> py_erlport:start(options(Options));
start(Name) -> start(Name, []).

start(Name, Options) -> py_erlport:start(Name, options(Options)).

start_link() -> start_link([]).

start_link(Options) when is_list(Options) -> py_erlport:start_link(options(Options));
start_link(Name) -> start_link(Name, []).

start_link(Name, Options) -> py_erlport:start_link(Name, options(Options)).

stop(Instance) -> py_erlport:stop(Instance).

call(Instance, Module, Function, Args) -> py_erlport:call(Instance, Module, Function, Args).

call(Instance, Module, Function, Args, Options) -> py_erlport:call(Instance, Module, Function, Args, Options).

cast(Instance, Message) -> py_erlport:cast(Instance, Message).

options(Options) ->
    case os:getenv("ERLPORT_PROGRAM") of
        false -> Options;
        Program -> [{program, string:lexemes(Program, " ")} | Options]
    end.
