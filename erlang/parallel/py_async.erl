%%% @doc Calls that nobody waits for yet, from their owner's side: start them, take their results, cancel them.
%%%
%%% What keeps them is a process, {@link py_async_group}, which has the exchange. A handle stands for one call, and for the result that
%%% is taken once; a request for one whose result comes as a message.
%%% @private
-module(py_async).

-export([start/2, one/1, take/3, fold/4, yield/2, cancel/1, is_handle/1]).
-export([request/1, check/2, wait/3, is_request/1]).
-export_type([handle/0, request/0, result/0]).

-type result() :: {ok, term()} | {error, term()}.
-opaque handle() :: {'$py.async', Owner :: pid(), Group :: pid(), Index :: pos_integer(), py_async_group:state()}.
%% One call. Its state stands outside the group, which may have ended.
-opaque request() :: {'$py.request', Alias :: reference(), handle()}.
-type refusal() :: {refused, Position :: pos_integer(), not_owner | taken}.

-define(OPEN, 0).
-define(TAKEN, 1).
-define(CANCELLED, 2).
-define(DONE, 3).

%% @doc Start these calls, `Window' of them at a time. The calling process owns them: it alone can take the results, and the
%% references in them are its own. A call's timeout begins now.
-spec start([py_async_group:call()], Window :: pos_integer() | infinity) -> [handle()].
start([], _Window) ->
    [];
start(Calls, Window) ->
    Count = length(Calls),
    States = atomics:new(Count, []),
    Positions = lists:seq(1, Count),
    Group = py_async_group:start([{Call, {States, Index}} || {Index, Call} <- lists:zip(Positions, Calls)], Window),
    [{'$py.async', self(), Group, Index, {States, Index}} || Index <- Positions].

%% @doc Start one call.
-spec one(py_async_group:call()) -> handle().
one(Call) ->
    State = {atomics:new(1, []), 1},
    {Group, Index} = py_async_group:one(Call, State),
    {'$py.async', self(), Group, Index, State}.

-spec is_handle(term()) -> boolean().
is_handle({'$py.async', Owner, Group, Index, {States, Position}}) ->
    is_pid(Owner) andalso is_pid(Group) andalso is_integer(Index) andalso is_reference(States) andalso is_integer(Position);
is_handle(_) ->
    false.

%% @doc Cancel a call, from any process. What is over already is so still.
-spec cancel(handle() | request()) -> ok.
cancel({'$py.request', _Alias, Handle}) ->
    cancel(Handle);
cancel({'$py.async', _Owner, Group, Index, {States, Position}}) ->
    %% The state is known where the handle was made only.
    _ = [atomics:compare_exchange(States, Position, Before, ?CANCELLED) || node(Group) =:= node(), Before <- [?OPEN, ?DONE]],
    Group ! {cancel, [Index]},
    ok.

%%% Several

%% @doc Wait for the results of these calls, which can be taken once. `all': as many results as handles; `first_error': the
%% first error cancels those that are not done. What is not there after `Timeout' is cancelled, too, and has the error
%% `{py, timeout}'. Sends nothing where a handle, named by its position, is none of this process's or was taken before.
-spec take([handle()], timeout(), all | first_error) -> {ok, [result()]} | {failed, term()} | refusal().
take(Handles, Timeout, Mode) ->
    Take = fun
        (_Position, {error, Error}, _Results) when Mode =:= first_error -> {stop, {failed, Error}};
        (Position, Result, Results) -> {next, [{Position, Result} | Results]}
    end,
    case collected(Handles, Timeout, at_the_end, Take, []) of
        {ok, Results} -> {ok, [Result || {_Position, Result} <- lists:sort(Results)]};
        Other -> Other
    end.

%% @doc `Fun' of each handle, its result, and what `Fun' gave before, in the order in which they come. The same rules; if `Fun' fails,
%% those that it has not seen are cancelled.
-spec fold(fun((handle(), result(), Acc) -> Acc), Acc, [handle()], timeout()) -> {ok, Acc} | refusal().
fold(Fun, Acc, Handles, Timeout) ->
    Of = list_to_tuple(Handles),
    Each = fun(Position, Result, Before) -> {next, Fun(element(Position, Of), Result, Before)} end,
    collected(Handles, Timeout, at_once, Each, Acc).

%% Results are `Each''s as they come. Those that it has had are kept, `at_once' or when all have come; otherwise all are dropped.
collected(Handles, Timeout, When, Each, Acc) ->
    Numbered = lists:zip(lists:seq(1, length(Handles)), Handles),
    case refused(Numbered, #{}) of
        none ->
            Alias = alias(),
            Groups = lists:usort([Group || {_, {_, _, Group, _, _}} <- Numbered]),
            Monitors = maps:from_list([{monitor(process, Group), Group} || Group <- Groups]),
            Collecting = #{
                alias => Alias,
                monitors => Monitors,
                deadline => py_deadline:after_ms(Timeout),
                waiting => #{},
                keep => When,
                each => Each
            },
            try
                {Waiting, Cancelled} = asked(Numbered, Alias),
                given(Cancelled, {error, {py, cancelled}}, Acc, Collecting#{waiting := Waiting})
            of
                {ok, _} = Taken ->
                    _ = [tell(kept, Numbered) || When =:= at_the_end],
                    Taken;
                Failed ->
                    tell(drop, Numbered),
                    Failed
            catch
                Class:Reason:Stack ->
                    tell(drop, Numbered),
                    erlang:raise(Class, Reason, Stack)
            after
                %% From here on nothing can arrive.
                unalias(Alias),
                _ = [demonitor(Monitor) || Monitor <- maps:keys(Monitors)],
                flush(Alias, Monitors)
            end;
        Refused ->
            Refused
    end.

refused([{Position, {_, Owner, _, _, _}} | _], _Seen) when Owner =/= self() ->
    {refused, Position, not_owner};
refused([{Position, {_, _, Group, Index, State}} | Rest], Seen) ->
    case is_map_key({Group, Index}, Seen) orelse is_taken(State) of
        true -> {refused, Position, taken};
        false -> refused(Rest, Seen#{{Group, Index} => true})
    end;
refused([], _Seen) ->
    none.

is_taken({States, Position}) -> atomics:get(States, Position) =:= ?TAKEN.

%% Those that are waited for, and the positions of those that were cancelled. A group is asked once.
asked(Numbered, Alias) ->
    {Waiting, Asked, Cancelled} = lists:foldl(
        fun({Position, {_, _, Group, Index, State}}, {Acc, Of, Lost}) ->
            case taken(State) of
                true -> {Acc#{{Group, Index} => Position}, with(Group, Index, Of), Lost};
                false -> {Acc, Of, [Position | Lost]}
            end
        end,
        {#{}, #{}, []},
        Numbered
    ),
    maps:foreach(fun(Group, Indices) -> Group ! {await, lists:reverse(Indices), Alias} end, Asked),
    {Waiting, lists:reverse(Cancelled)}.

with(Group, Index, Of) ->
    case Of of
        #{Group := Indices} -> Of#{Group := [Index | Indices]};
        #{} -> Of#{Group => [Index]}
    end.

%% Whether this process has it from now on: somebody may have cancelled it.
taken({States, Position} = State) ->
    case atomics:compare_exchange(States, Position, ?OPEN, ?TAKEN) of
        ok -> true;
        ?DONE -> atomics:compare_exchange(States, Position, ?DONE, ?TAKEN) =:= ok orelse taken(State);
        ?CANCELLED -> false
    end.

tell(Word, Numbered) ->
    Of = lists:foldl(fun({_, {_, _, Group, Index, _}}, Acc) -> with(Group, Index, Acc) end, #{}, Numbered),
    maps:foreach(fun(Group, Indices) -> Group ! {Word, Indices} end, Of).

collect(Acc, #{waiting := Waiting}) when map_size(Waiting) =:= 0 ->
    {ok, Acc};
collect(Acc, #{alias := Alias, monitors := Monitors, deadline := Deadline} = Collecting) ->
    receive
        {Alias, Call, Result} ->
            come(Call, Result, Acc, Collecting);
        {'DOWN', Monitor, process, Group, _} when is_map_key(Monitor, Monitors) ->
            Drained = drained(Acc, Collecting),
            lost(fun({Of, _}) -> Of =:= Group end, {error, {py, cancelled}}, Drained, Collecting)
    after py_deadline:left_ms(Deadline) ->
        %% First: the group answers what is given up, too.
        case drained(Acc, Collecting) of
            {next, _, #{waiting := Late}} = Drained ->
                maps:foreach(fun({Group, Index}, _) -> Group ! {drop, [Index]} end, Late),
                lost(fun(_) -> true end, {error, {py, timeout}}, Drained, Collecting);
            {stop, Last} ->
                Last
        end
    end.

come(Call, Result, Acc, Collecting) ->
    case one_more(Call, Result, Acc, Collecting) of
        {next, Next, Left} -> collect(Next, Left);
        {stop, Last} -> Last
    end.

one_more({Group, Index} = Call, Result, Acc, #{waiting := Waiting, keep := Keep, each := Each} = Collecting) ->
    case maps:take(Call, Waiting) of
        {Position, Left} ->
            Read = read(Result),
            Keep =:= at_once andalso (Group ! {kept, [Index]}),
            case Each(Position, Read, Acc) of
                {next, Next} -> {next, Next, Collecting#{waiting := Left}};
                {stop, _} = Stop -> Stop
            end;
        %% It has a result, and was cancelled then.
        error ->
            {next, Acc, Collecting}
    end.

%% With what has arrived.
drained(Acc, #{alias := Alias} = Collecting) ->
    receive
        {Alias, Call, Result} ->
            case one_more(Call, Result, Acc, Collecting) of
                {next, Next, Left} -> drained(Next, Left);
                Stop -> Stop
            end
    after 0 -> {next, Acc, Collecting}
    end.

%% Some calls have this error instead of a result.
lost(_Which, _Error, {stop, Last}, _Collecting) ->
    Last;
lost(Which, Error, {next, Acc, #{waiting := Waiting} = Collecting}, _Before) ->
    {Gone, Left} = lists:partition(fun({Call, _}) -> Which(Call) end, maps:to_list(Waiting)),
    given(lists:sort([Position || {_, Position} <- Gone]), Error, Acc, Collecting#{waiting := maps:from_list(Left)}).

given([Position | Rest], Error, Acc, #{each := Each} = Collecting) ->
    case Each(Position, Error, Acc) of
        {next, Next} -> given(Rest, Error, Next, Collecting);
        {stop, Last} -> Last
    end;
given([], _Error, Acc, Collecting) ->
    collect(Acc, Collecting).

%% In one pass, however many there are.
flush(Alias, Monitors) ->
    receive
        {Alias, _, _} -> flush(Alias, Monitors);
        {'DOWN', Monitor, process, _, _} when is_map_key(Monitor, Monitors) -> flush(Alias, Monitors)
    after 0 -> ok
    end.

read({frame, Frame, Trust, {Worker, _}}) -> py_send:read(Frame, Trust, Worker);
read(Result) -> Result.

%%% One

%% @doc The result of a call, if it comes within `Timeout'; otherwise nothing has happened to it.
-spec yield(handle(), timeout()) -> result() | timeout | refusal().
yield({_, Owner, _, _, _}, _Timeout) when Owner =/= self() ->
    {refused, 1, not_owner};
yield({_, _, Group, Index, {States, Position} = State} = Handle, Timeout) ->
    case atomics:get(States, Position) of
        ?TAKEN ->
            {refused, 1, taken};
        ?CANCELLED ->
            {error, {py, cancelled}};
        ?OPEN when Timeout =:= 0 ->
            case is_process_alive(Group) of
                true -> timeout;
                false -> {error, {py, cancelled}}
            end;
        Now ->
            Alias = monitor(process, Group, [{alias, reply_demonitor}]),
            Group ! {await, [Index], Alias},
            %% What is done is given at once.
            case response(Alias, if Now =:= ?DONE -> infinity; true -> Timeout end) of
                timeout ->
                    timeout;
                Result ->
                    _ = taken(State),
                    tell(kept, [{1, Handle}]),
                    Result
            end
    end.

response(Alias, Timeout) ->
    receive
        {Alias, _, Result} -> read(Result);
        {'DOWN', Alias, process, _, _} -> {error, {py, cancelled}}
    after Timeout ->
        demonitor(Alias, [flush]),
        receive
            {Alias, _, Result} -> read(Result)
        after 0 -> timeout
        end
    end.

%%% Requests

%% @doc Start one call whose result comes to the calling process, as a message for {@link check/2}.
-spec request(py_async_group:call()) -> request().
request(Call) ->
    State = {atomics:new(1, []), 1},
    {Group, Index, Alias} = py_async_group:one(Call, State, give),
    {'$py.request', Alias, {'$py.async', self(), Group, Index, State}}.

-spec is_request(term()) -> boolean().
is_request({'$py.request', Alias, Handle}) -> is_reference(Alias) andalso is_handle(Handle);
is_request(_) -> false.

%% @doc What a message says of a request.
-spec check(Message :: term(), request()) -> result() | no_reply.
check({Alias, _, Result}, {'$py.request', Alias, _}) -> read(Result);
check({'DOWN', Alias, process, _, _}, {'$py.request', Alias, _}) -> {error, {py, cancelled}};
check(_Message, _Request) -> no_reply.

%% @doc Wait for the message of a request. What has not come is cancelled (`drop'), or comes later (`keep').
-spec wait(request(), timeout(), drop | keep) -> result() | timeout.
wait({_, Alias, Handle}, Timeout, drop) ->
    Result = response(Alias, Timeout),
    _ = [cancel(Handle) || Result =:= timeout],
    Result;
wait({_, Alias, _}, Timeout, keep) ->
    receive
        {Alias, _, Result} -> read(Result);
        {'DOWN', Alias, process, _, _} -> {error, {py, cancelled}}
    after Timeout -> timeout
    end.
