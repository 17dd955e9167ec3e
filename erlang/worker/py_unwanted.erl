%%% @doc The calls that nobody wants any more, and how it is found out that nobody does.
%%%
%%% A call is unwanted when its deadline has passed, when it was cancelled, or when its caller has died. One that was not
%%% sent is dropped. Python is told of the others; for the one that it is busy with it is also interrupted, again and again
%%% because what it is told may still stand behind a megabyte of arguments. The time that such a call has is counted, and when
%%% it has had `kill_after' (in the middle of an import `start_timeout'), the worker is asked to kill it. What it asks of Erlang
%%% does not stop that clock; a call that is wanted and runs inside it does. Until then what arrives waits, so that it need not
%%% die along, but for where a wanted call waits inside, which may be for that.
%%% @private
-module(py_unwanted).

-export([mark/3, note/2, timeout/2, hurry/2, look/1, watched/1, unwatch/1]).

-include("py_calls.hrl").

%% A call that takes longer than this has its caller watched.
-define(WATCH_MS, 50).
%% Those that wait are let be where all of them will have been sent in so many times as long, as fast as it goes.
-define(SOON, 4).
-define(MANY, 100).

%% @doc Mark what belongs to an alias, or to the monitor of a caller that has died: the ids of those that Python is to be told of. What
%% waits is dropped. That is how the calls end.
-spec mark(reference(), Why :: timeout | cancelled | nested, calls()) -> {[py_wire:id()], calls()}.
mark(From, Why, #calls{sent = Sent, waiting = Waiting, figures = Figures} = Calls) ->
    case py_inflight:cancel(From, Sent) of
        {[], _} ->
            {Unwanted, Kept} = dropped(From, Waiting),
            lists:foreach(fun unwatch/1, Unwanted),
            Own = length([Call || Call <- Unwanted, py_inflight:is_of(From, Call)]),
            py_figures:count(Why, Own, Figures),
            py_figures:count(cancelled, length(Unwanted) - Own, Figures),
            {[], Calls#calls{waiting = Kept}};
        {Ids, Marked} ->
            py_figures:count(Why, length(Ids), Figures),
            py_events:emit([call, cancel], #{}, #{calls => length(Ids), worker => self()}),
            with_inner(Ids, Calls#calls{sent = Marked})
    end.

%% @doc Python is told of these. Where calls run in threads each has a clock of its own from now on.
-spec note([py_wire:id()], calls()) -> calls().
note(Ids, #calls{sent = Sent, overdue = Overdue} = Calls) -> Calls#calls{overdue = py_overdue:unwanted(Ids, Sent, Overdue)}.

%% Where many wait whose callers die together, all are found by the first: each by itself would be looked for among all of them.
dropped(From, Waiting) ->
    case py_waiting:size(Waiting) > ?MANY of
        true -> py_waiting:take_out(fun(Call) -> py_inflight:is_of(From, Call) orelse is_gone(Call) end, Waiting);
        false -> py_waiting:cancel(From, Waiting)
    end.

is_gone(#{caller := Caller}) -> node(Caller) =:= node() andalso not is_process_alive(Caller).

%% What an unwanted call has asked may have called Python again: nobody wants that either.
with_inner(Ids, #calls{sent = Sent, questions = Questions} = Calls) ->
    case [Running || Id <- Ids, {ok, Question} <- [py_inflight:question(Id, Sent)], {ok, Running} <- [maps:find(Question, Questions)]] of
        [] ->
            {Ids, Calls};
        Asked ->
            {Inner, Marked} = py_inflight:cancel_of(fun(Pid) -> lists:any(fun(R) -> py_request:is_run_by(Pid, R) end, Asked) end, Sent),
            case Inner of
                [] -> {Ids, Calls};
                _ ->
                    lists:foreach(fun(Id) -> tell_cancelled(py_inflight:find(Id, Marked)) end, Inner),
                    py_figures:count(cancelled, length(Inner), Calls#calls.figures),
                    {All, Next} = with_inner(Inner, Calls#calls{sent = Marked}),
                    {Ids ++ All, Next}
            end
    end.

%% Its caller waits, whatever Python makes of it.
tell_cancelled({ok, #{from := From}}) when is_reference(From) -> From ! {From, {error, cancelled}}, ok.

%% @doc Have these end that are coroutines: one does as soon as Python reads that it is unwanted: where another call runs, it must be made to. One that does
%% not end holds up its event loop, and the others with it.
-spec hurry([py_wire:id()], calls()) -> calls().
hurry(Ids, #calls{sent = #{later := Later} = Sent, overdue = Overdue} = Calls) ->
    case [From || Id <- Ids, #{from := From} <- [maps:get(Id, Later, none)]] of
        [] ->
            Calls;
        Unwanted ->
            _ = erlang:start_timer(py_overdue:kill_after(Overdue), self(), {later, Unwanted}),
            #calls{interpreter = Interpreter} = Flushed = flushed(Calls),
            %% With threads the main one reads all the time.
            _ = [py_interpreter:interrupt(Interpreter) || Calls#calls.threads =:= 1, py_inflight:running(Sent) =/= none],
            Flushed
    end.

%% @doc A timer of this module's has run out; `kill': an unwanted call has had its time, and whether it is in an import; `abandon': it is
%% in a thread, beside others.
-spec timeout(term(), calls()) -> {ok | abandon | {kill, IsImporting :: boolean()}, calls()} | unknown.
timeout({timeout, Timer, tick}, #calls{sent = Sent, interpreter = Interpreter, overdue = Overdue} = Calls) ->
    case py_overdue:tick(Timer, Sent, Interpreter, Overdue) of
        {ok, Next} -> {ok, Calls#calls{overdue = Next}};
        {Kill, Next} -> {Kill, Calls#calls{overdue = Next}};
        unknown -> unknown
    end;
timeout({timeout, _, {later, Unwanted}}, #calls{threads = Threads, sent = #{later := Later} = Sent, overdue = Overdue} = Calls) ->
    case [Id || {Id, #{from := From}} <- maps:to_list(Later), lists:member(From, Unwanted)] of
        [] -> {ok, Calls};
        _ when Threads =:= 1 -> {{kill, false}, Calls};
        Ids -> {abandon, Calls#calls{overdue = py_overdue:give_up(Ids, Sent, Overdue)}}
    end;
timeout({timeout, Timer, watch}, #calls{watch_timer = {Timer, Sent}} = Calls) ->
    {ok, watch_callers(Sent, Calls#calls{watch_timer = undefined})};
timeout(_, _) ->
    unknown.

%% @doc Something has changed that may make an unwanted call the one that Python is busy with, or end it.
-spec look(calls()) -> calls().
look(#calls{sent = Sent, overdue = Overdue} = Calls) ->
    case py_overdue:is_quiet(Sent, Overdue) of
        true ->
            Calls;
        false ->
            %% It is to read what it is interrupted for.
            #calls{interpreter = Interpreter} = Flushed = flushed(Calls),
            Flushed#calls{overdue = py_overdue:look(Sent, Interpreter, Overdue)}
    end.

%% @doc There is a call. Nearly all are over before it would be worth to watch their callers: those that are not are found by a timer.
-spec watched(calls()) -> calls().
watched(#calls{watch_timer = undefined, sent = Sent} = Calls) ->
    Calls#calls{watch_timer = {erlang:start_timer(?WATCH_MS, self(), watch), py_inflight:sent(Sent)}};
watched(Calls) ->
    Calls.

watch_callers(Before, #calls{sent = Sent, waiting = Waiting} = Calls) ->
    IsGoing = py_waiting:size(Waiting) =< ?SOON * (py_inflight:sent(Sent) - Before),
    Watched = Calls#calls{
        sent = py_inflight:watch(Before, fun watch/1, Sent),
        waiting = if IsGoing -> Waiting; true -> py_waiting:watch(fun watch/1, Waiting) end
    },
    case py_inflight:size(Sent) + py_waiting:size(Waiting) of
        0 -> Watched;
        _ -> watched(looked(Watched))
    end.

flushed(#calls{interpreter = undefined} = Calls) -> Calls;
flushed(#calls{interpreter = Interpreter} = Calls) -> Calls#calls{interpreter = py_interpreter:flush(Interpreter)}.

%% Whoever waits is told at once when its Python has ended without a word.
looked(#calls{interpreter = undefined} = Calls) -> Calls;
looked(#calls{interpreter = Interpreter} = Calls) -> py_interpreter:look(Interpreter), Calls.

watch(Caller) -> monitor(process, Caller).

-spec unwatch(map()) -> true.
unwatch(#{monitor := Monitor}) -> demonitor(Monitor, [flush]);
unwatch(_) -> true.
