%%% @doc When the calls of a worker have begun and how long they have waited and run, for {@link py_figures} and for events.
%%%
%%% Python does not say when it begins a call. It runs one after another, so the next begins when the one before it is answered, or when it
%%% is written to an empty pipe. Answers that are read together are taken to have run for equal parts of the time since the ones before:
%%% so the figures of one short call are those of its batch, while a long one, whose answers before it are written first, has its own.
%%% Of a call that waits for Erlang, that runs inside one, or beside the others, the begin is noted.
%%% @private
-module(py_timing).

-export([sent/2, arrived/2, apart/2, begun/2, ended/4, running/1]).

-export_type([began/0]).

-include("py_calls.hrl").

-type began() :: {Us :: integer(), EachUs :: non_neg_integer(), IsOn :: boolean()}.

%% @doc A call that is being sent. In threads those begin at once that are sent.
-spec sent(map(), calls()) -> map().
sent(#{at := _} = Call, #calls{threads = Threads}) when Threads > 1 -> Call#{begun => now_us()};
sent(Call, _Calls) -> Call.

%% @doc The port was read, with so many answers.
-spec arrived(Answers :: non_neg_integer(), calls()) -> calls().
arrived(0, #calls{interpreter = Interpreter} = Calls) ->
    Calls#calls{read_us = py_interpreter:read_us(Interpreter)};
arrived(Answers, #calls{window = Window, interpreter = Interpreter} = Calls) ->
    Since = py_window:since(Window),
    Read = py_interpreter:read_us(Interpreter),
    Calls#calls{read_us = Read, began = {Since, max(0, Read - Since) div Answers, py_events:is_on()}}.

%% @doc A call that is about to be answered: one that has run inside another has its own time.
-spec apart(py_inflight:call(), calls()) -> py_inflight:call().
apart(#{at := _} = Call, #calls{sent = Sent} = Calls) ->
    case py_inflight:depth(Sent) of
        0 -> Call;
        _ -> Call#{begun => began_at(Call, Calls)}
    end;
apart(Call, _Calls) ->
    Call.

began_at(#{begun := Us}, _Calls) -> Us;
began_at(#{at := At}, #calls{window = Window}) -> max(At, py_window:since(Window)).

%% @doc The calls that are open, with the begin of this one noted: from here on others may run inside it or beside it.
-spec begun(py_wire:id() | 0 | unknown, calls()) -> py_inflight:calls().
begun(unknown, #calls{sent = Sent} = Calls) ->
    case py_inflight:running(Sent) of
        {Id, _} -> begun(Id, Calls);
        none -> Sent
    end;
begun(Id, #calls{sent = Sent} = Calls) ->
    case py_inflight:find(Id, Sent) of
        {ok, #{at := _} = Call} -> py_inflight:begun(Id, began_at(Call, Calls), Sent);
        _ -> Sent
    end.

%% @doc A call was answered: how long it has waited and run, where somebody listens, and when the next one began. Those that nobody
%% wants any more are counted already.
-spec ended(py_inflight:call(), IsResult :: boolean(), began(), calls()) -> {{WaitUs :: integer(), RunUs :: integer()} | none, began()}.
ended(#{at := At, cancelled := false} = Call, IsResult, {Since, Each, IsOn}, #calls{figures = Figures, read_us = Read}) ->
    {Began, Ran} =
        case Call of
            #{begun := Us} -> {Us, max(0, Read - Us)};
            #{} -> {max(At, Since), Each}
        end,
    Waited = Began - At,
    py_figures:waited(Waited, Figures),
    py_figures:ran(Ran, 1, Figures),
    py_figures:count(if IsResult -> ok; true -> python end, 1, Figures),
    {if IsOn -> {Waited, Ran}; true -> none end, {Since + Each, Each, IsOn}};
ended(_Call, _IsResult, {Since, Each, IsOn}, _Calls) ->
    {none, {Since + Each, Each, IsOn}}.

%% @doc The calls of callers that Python has begun, by the names that they have as bytes, and for how long they have run.
-spec running(calls()) -> [{Head :: binary(), Us :: non_neg_integer()}].
running(#calls{sent = Sent, threads = Threads} = Calls) ->
    Now = now_us(),
    [
        {Head, max(0, Now - began_at(Call, Calls))}
     || #{from := From, head := Head} = Call <- py_inflight:under_way(Threads, Sent), is_reference(From)
    ].

now_us() -> erlang:monotonic_time(microsecond).
