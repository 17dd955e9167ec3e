%%% The application under test: started for one case, stopped after it, and nothing may be left.
-module(py_application).

-export([start/0, start/1, stop/0, stop_sessions/0, messages/0, with_environment/2]).

%% @doc Start with one pool `default' of two workers.
-spec start() -> ok.
start() -> start([{default, #{size => 2}}]).

%% @doc Start with these pools.
-spec start([{atom(), map()}]) -> ok.
start(Pools) ->
    _ = application:load(py),
    application:set_env(py, pools, Pools),
    {ok, started} = py:start(),
    ok.

%% @doc Stop, for `end_per_testcase': `{fail, _}' for a message that the case did not read and for a process left behind.
-spec stop() -> ok | {fail, term()}.
stop() ->
    {ok, stopped} = py:stop(),
    application:unset_env(py, pools),
    Messages = messages(),
    try py_eventually:equals([], fun py_os_process:descendants/0) of
        ok when Messages =:= [] -> ok;
        ok -> {fail, {messages_left, Messages}}
    catch
        error:{never, #{last := Left}} -> {fail, {processes_left, Left}}
    end.

%% @doc The same after tests of sessions: none is left, and neither is their configuration.
-spec stop_sessions() -> ok | {fail, term()}.
stop_sessions() ->
    erase('$py_session'),
    [py_session:close(Session) || #{session := Session} <- py_session:list()],
    Stopped = stop(),
    application:unset_env(py, sessions),
    Stopped.

%% @doc The messages that nobody has read.
-spec messages() -> [term()].
messages() ->
    receive
        %% Common Test's own clock.
        {timetrap, _, _} -> messages();
        Message -> [Message | messages()]
    after 0 -> []
    end.

%% @doc Run with these environment variables (`false': unset), then put back what was there.
-spec with_environment([{string(), string() | false}], fun(() -> Result)) -> Result.
with_environment(Variables, Fun) ->
    Before = [{Name, os:getenv(Name)} || {Name, _} <- Variables],
    set(Variables),
    try
        Fun()
    after
        set(Before)
    end.

set(Variables) ->
    lists:foreach(
        fun
            ({Name, false}) -> os:unsetenv(Name);
            ({Name, Value}) -> os:putenv(Name, Value)
        end,
        Variables
    ).
