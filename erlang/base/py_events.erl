%%% @doc What happens, for those who measure: to `telemetry' where that module is loaded, and to handlers of this node.
%%%
%%% A handler is a fun of an event's name, measurements and metadata, as with `telemetry'; it runs in the process where
%%% the event happens (a caller or a worker), so it should be short. One that fails is taken out, with a warning.
%%%
%%% While nobody listens, an event costs two reads of a persistent term.
-module(py_events).

-export([attach/2, detach/1, is_on/0, emit/3, timed/3, times/0]).
-export_type([event/0, handler/0]).

%% In the dictionary of a process that has an answer and is about to tell of it.
-define(TIMES, '$py_times').

-type event() ::
    [call | start | stop | exception | retry | cancel | queue | wait | full | worker | recycle | down].
%% Behind `py': `[py, call, start]' and so on; `docs/servers.md' has the table.
-type handler() :: fun((Name :: [atom()], Measurements :: map(), Metadata :: map()) -> term()).

%% @doc Call `Handler' at each event, under an id of your own. Another one under the same id is replaced.
-spec attach(Id :: term(), handler()) -> ok.
attach(Id, Handler) when is_function(Handler, 3) -> persistent_term:put(?MODULE, (handlers())#{Id => Handler}).

-spec detach(Id :: term()) -> ok.
detach(Id) ->
    case maps:remove(Id, handlers()) of
        Left when map_size(Left) =:= 0 ->
            _ = persistent_term:erase(?MODULE),
            ok;
        Left ->
            persistent_term:put(?MODULE, Left)
    end.

handlers() -> persistent_term:get(?MODULE, #{}).

%% @doc Whether anybody listens.
-spec is_on() -> boolean().
is_on() -> persistent_term:get(?MODULE, undefined) =/= undefined orelse erlang:module_loaded(telemetry).

%% @doc The answer that this process has just got was a worker's, for which its call has waited and run so many microseconds.
-spec timed(pid(), WaitUs :: non_neg_integer(), RunUs :: non_neg_integer()) -> ok.
timed(Worker, WaitUs, RunUs) ->
    _ = put(?TIMES, {Worker, WaitUs, RunUs}),
    ok.

%% @doc What is known of the last answer, for an event: measurements and metadata. It is forgotten.
-spec times() -> {#{wait => integer(), run => integer()}, #{worker => pid()}}.
times() ->
    case erase(?TIMES) of
        {Worker, WaitUs, RunUs} -> {#{wait => native(WaitUs), run => native(RunUs)}, #{worker => Worker}};
        undefined -> {#{}, #{}}
    end.

native(Us) -> erlang:convert_time_unit(Us, microsecond, native).

%% @doc Tell everybody who listens. Never fails.
-spec emit(event(), map(), map()) -> ok.
emit(Event, Measurements, Metadata) ->
    Name = [py | Event],
    _ =
        case erlang:module_loaded(telemetry) of
            true -> safely(telemetry, fun telemetry_execute/3, Name, Measurements, Metadata);
            false -> ok
        end,
    maps:foreach(fun(Id, Handler) -> safely(Id, Handler, Name, Measurements, Metadata) end, handlers()).

%% The module is no part of this application: checkers need not look for it.
telemetry_execute(Name, Measurements, Metadata) ->
    Module = telemetry_module(),
    Module:execute(Name, Measurements, Metadata).

telemetry_module() -> telemetry.

safely(Id, Handler, Name, Measurements, Metadata) ->
    try
        Handler(Name, Measurements, Metadata)
    catch
        Class:Reason:Stack ->
            detach(Id),
            logger:warning("py: the event handler ~tp failed at ~tp and was taken out: ~tp", [Id, Name, {Class, Reason, Stack}])
    end.
