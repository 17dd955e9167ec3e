%%% @doc Calls that a worker can let go of: those that wait in it, and those that stand in the pipe of its interpreter behind a slow one. See
%%% "Work that moves" in docs/architecture.md, which has the protocol of the page.
%%% @private
-module(py_pipe).

-export([kept/1, share/1, is_stuck/1, first/1, ring/1, raises/2, looks/2, look_soon/1, paced/1, fill/2]).

-include("py_calls.hrl").

%% The pause before it is looked again whether the first call of the pipe is slow.
-define(LOOK_MS, 2).

%% @doc How many calls wait that could go to another worker; with those that wait for a thread.
-spec kept(calls()) -> non_neg_integer().
kept(#calls{waiting = Waiting, threads = 1}) ->
    py_waiting:free(Waiting);
kept(#calls{waiting = Waiting, threads = Threads, sent = Sent}) ->
    py_waiting:free(Waiting) + max(0, py_inflight:in_line(Sent) - py_inflight:asking(Sent) - Threads).

%% @doc Let go of half of those that wait, or where none does of what stands in the pipe behind a slow call; where the first call is not slow
%% yet, soon. With a number Python is to be told that the calls above that one are not its own any more; `ask': it is to be asked for some.
-spec share(calls()) -> {[map()], none | ask | non_neg_integer(), calls()}.
share(#calls{waiting = Waiting, sent = Sent, threads = Threads} = Calls) ->
    case py_waiting:free(Waiting) of
        0 when Threads > 1 ->
            {[], ask, Calls};
        0 ->
            case py_inflight:in_line(Sent) > 1 andalso can_take_back(Calls) andalso is_old(Calls) of
                true -> take_back(Calls);
                false -> {[], none, look_soon(Calls)}
            end;
        Free ->
            {Given, Left} = py_waiting:give_back((Free + 1) div 2, Waiting),
            {Given, none, Calls#calls{waiting = Left}}
    end.

%% @doc Look soon whether the first of several calls is slow.
-spec look_soon(calls()) -> calls().
look_soon(#calls{look = none, sent = Sent} = Calls) ->
    case py_inflight:in_line(Sent) > 1 andalso can_take_back(Calls) of
        true -> Calls#calls{look = erlang:start_timer(?LOOK_MS, self(), stuck)};
        false -> Calls
    end;
look_soon(Calls) ->
    Calls.

%% @doc What Python has said of its calls; `none' where they can't be taken back.
-spec paced(calls()) -> py_interpreter:paced() | none.
paced(#calls{threads = 1, interpreter = Interpreter} = Calls) when Interpreter =/= undefined ->
    case can_take_back(Calls) of
        true -> py_interpreter:paced(Interpreter);
        false -> none
    end;
paced(_Calls) ->
    none.

%% @doc So many calls may be written in any case; 0: as many as is seen that they are short.
-spec fill(non_neg_integer(), calls()) -> calls().
fill(Least, #calls{window = Window} = Calls) -> Calls#calls{window = py_window:fill(Least, Window)}.

%% @doc Whether calls stand behind a slow one.
-spec is_stuck(calls()) -> boolean().
is_stuck(#calls{sent = Sent} = Calls) -> py_inflight:in_line(Sent) > 1 andalso can_take_back(Calls) andalso is_old(Calls).

is_old(#calls{window = Window}) -> py_window:is_old(erlang:monotonic_time(microsecond), Window).

%% @doc See {@link py_inflight:first/1}. Calls in threads are answered one by one.
-spec first(calls()) -> pos_integer() | none.
first(#calls{threads = 1, sent = Sent}) -> py_inflight:first(Sent);
first(_Calls) -> none.

%% @doc Have Python write the answers that it has.
-spec ring(calls()) -> ok.
ring(#calls{interpreter = undefined}) -> ok;
ring(#calls{interpreter = Interpreter}) -> py_interpreter:ring(Interpreter).

%% @doc What interrupts this Python from now on, as it says.
-spec raises(Signal :: 1..64, calls()) -> calls().
raises(_Signal, #calls{interpreter = undefined} = Calls) -> Calls;
raises(Signal, #calls{interpreter = Interpreter} = Calls) -> Calls#calls{interpreter = py_interpreter:raises(Signal, Interpreter)}.

%% @doc Whether it is time to look again.
-spec looks(reference(), calls()) -> {boolean(), calls()}.
looks(Timer, #calls{look = Timer} = Calls) -> {true, Calls#calls{look = none}};
looks(_Timer, Calls) -> {false, Calls}.

%% What is given back is no call of this interpreter's any more, whatever comes of it. An answer that says that Python has refused one
%% of them is nobody's.
take_back(#calls{sent = Sent, interpreter = Interpreter} = Calls) ->
    case py_inflight:loose(Sent) > 0 andalso py_interpreter:limit(py_inflight:last_bound(Sent), Interpreter) of
        Above when is_integer(Above) ->
            {Given, Left} = py_inflight:take_above(Above, Sent),
            {maps:values(Given), Above, Calls#calls{sent = Left, taken = maps:map(fun(_, _) -> [] end, Given)}};
        _ ->
            {[], none, Calls}
    end.

%% Not while a call waits for Erlang, or has others run inside it.
can_take_back(#calls{has_limit = HasLimit, flow = Flow, interpreter = Interpreter, sent = Sent, overdue = Overdue}) ->
    HasLimit andalso Flow =:= open andalso py_inflight:goes_on_alone(Sent) andalso py_overdue:is_none(Overdue) andalso
        not (py_interpreter:is_doomed(Interpreter) orelse py_interpreter:is_gone(Interpreter)).
