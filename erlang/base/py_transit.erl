%%% @doc A function on another node, whatever that node does: its caller is never suspended, and waits no longer than it said.
%%%
%%% Who sends to a node that does not read is suspended by the run-time system, for as long as that takes; so a process of its
%%% own sends, the *sender*, and it is killed when the time is over. What is large (arguments or a result) goes in
%%% parts, and no more of them than the other side has asked for: so no more of it than that stands in the way of other
%%% messages, and nothing of it waits for a node that does not read.
%%%
%%% ```
%%%   caller --spawn--> sender --erpc--> runner
%%%                     sender <-- {Tag, more, Runner, Count}
%%%                     sender --> {Tag, part, Part} ...          the arguments; the runner asks for more as they come
%%%                                runner applies the function
%%%                     sender <-- {Tag, large, Runner}           the result is
%%%                     sender --> {Tag, more, Count}
%%%                     sender <-- {Tag, part, Part} ...
%%%   caller <--exit--- sender <--exit-- runner
%%% '''
%%%
%%% `docs/architecture.md' ("Between nodes") has who may die when.
%%% @private
-module(py_transit).

-export([ask/4, ask_each/4, cast/2, monitor/1, demonitor/1, is_large/1, end_with/1, sender/4]).
-compile({no_auto_import, [monitor/1, demonitor/1]}).
%% For other nodes.
-export([run/4]).
-export_type([how/0, mfargs/0, failure/0, monitor/0]).

-type how() :: plain | parts | tied.
%% `plain': the other node needs nothing of ours. `parts': it has this module. `tied': likewise, and what runs there ends with the
%% process that has asked, and when its time is over.
-type mfargs() :: {module(), Function :: atom(), Args :: [term()]}.
-type failure() :: timeout | not_started | cancelled | {node_down, node()}.

-opaque monitor() :: reference() | {Proxy :: pid(), reference()}.

%% One of these is one fragment of Erlang's distribution.
-define(PART_BYTES, 60_000).
-define(LARGE_BYTES, 240_000).
%% So many parts are under way, and so many at once are asked for.
-define(WINDOW, 16).
-define(AT_ONCE, 4).

%% @doc Apply a function on another node. `not_started': the node does not have it; `cancelled': somebody has ended it there. What it raises
%% is raised here.
-spec ask(how(), node(), mfargs(), timeout()) -> {ok, term()} | {error, failure()}.
ask(How, Node, MFArgs, Timeout) ->
    case waited(start(How, Node, MFArgs), py_deadline:after_ms(Timeout)) of
        {raised, Class, Reason, Stack} -> erlang:raise(Class, Reason, Stack);
        Answer -> Answer
    end.

%% @doc The same on several nodes at the same time: what each of them has answered, in their order. One that raises something is `not_started':
%% its modules, tables or processes are not there.
-spec ask_each(how(), [node()], mfargs(), timeout()) -> [{node(), {ok, term()} | {error, failure()}}].
ask_each(How, Nodes, MFArgs, Timeout) ->
    Deadline = py_deadline:after_ms(Timeout),
    Started = [{Node, start(How, Node, MFArgs)} || Node <- Nodes],
    [{Node, answered(waited(Sender, Deadline))} || {Node, Sender} <- Started].

answered({raised, _, _, _}) -> {error, not_started};
answered(Answer) -> Answer.

%% @doc Nobody waits for what becomes of it.
-spec cast(node(), mfargs()) -> ok.
cast(Node, {Module, Function, Args}) ->
    _ = spawn(fun() -> erpc:cast(Node, Module, Function, Args) end),
    ok.

%% The result comes as its reason to end: so nothing comes after the caller has stopped waiting.
start(How, Node, MFArgs) ->
    spawn_monitor(?MODULE, sender, [How, Node, MFArgs, self()]).

waited({Sender, Monitor}, Deadline) ->
    receive
        {'DOWN', Monitor, process, _, {?MODULE, Answer}} -> Answer;
        {'DOWN', Monitor, process, _, _} -> {error, cancelled}
    after py_deadline:left_ms(Deadline) ->
        erlang:demonitor(Monitor, [flush]),
        exit(Sender, kill),
        {error, timeout}
    end.

%%% The sender

%% @doc A process of its own.
-spec sender(how(), node(), mfargs(), Caller :: pid()) -> no_return().
sender(How, Node, MFArgs, Caller) -> exit({?MODULE, sent(How, Node, MFArgs, Caller)}).

sent(How, Node, MFArgs, Caller) ->
    Watch = erlang:monitor(process, Caller),
    Tag = make_ref(),
    {{Module, Function, Args}, Parts} = request(How, Tag, MFArgs),
    Request = erpc:send_request(Node, Module, Function, Args),
    under_way(#{node => Node, watch => Watch, tag => Tag, request => Request}, Parts, []).

request(plain, _Tag, MFArgs) ->
    {MFArgs, []};
request(How, Tag, {_, _, Args} = MFArgs) ->
    case is_large(Args) of
        true -> {{?MODULE, run, [How, self(), Tag, parts]}, parts(MFArgs)};
        false -> {{?MODULE, run, [How, self(), Tag, MFArgs]}, []}
    end.

%% @doc Whether it goes in parts.
-spec is_large(term()) -> boolean().
is_large(Term) -> erlang:external_size(Term) > ?LARGE_BYTES.

under_way(#{watch := Watch, tag := Tag} = Sent, Parts, Got) ->
    receive
        {'DOWN', Watch, process, _, _} -> {error, cancelled};
        {Tag, more, Runner, Count} -> under_way(Sent, give(Runner, Tag, Count, Parts), Got);
        {Tag, large, Runner} ->
            Runner ! {Tag, more, self(), ?WINDOW},
            under_way(Sent#{runner => Runner}, Parts, Got);
        {Tag, part, Part} ->
            Sent1 = more(Tag, Sent),
            under_way(Sent1, Parts, [Part | Got]);
        Message ->
            answer(Message, Sent, Parts, Got)
    end.

answer(Message, #{node := Node, request := Request} = Sent, Parts, Got) ->
    try erpc:check_response(Message, Request) of
        {response, {?MODULE, parts}} -> {ok, whole(Got)};
        {response, Result} -> {ok, Result};
        no_response -> under_way(Sent, Parts, Got)
    catch
        error:{erpc, noconnection} -> {error, {node_down, Node}};
        error:{exception, undef, _} -> {error, not_started};
        exit:{signal, _} -> {error, cancelled};
        Class:Reason:Stack -> {raised, Class, Reason, Stack}
    end.

%%% The runner

%% @doc What runs on the other node.
-spec run(parts | tied, Sender :: pid(), Tag :: reference(), mfargs() | parts) -> term().
run(How, Sender, Tag, MFArgs) ->
    How =:= tied andalso end_with(Sender),
    {Module, Function, Args} = taken(MFArgs, Sender, Tag),
    Result = apply(Module, Function, Args),
    case is_large(Result) of
        true ->
            Watch = erlang:monitor(process, Sender),
            Sender ! {Tag, large, self()},
            ok = given(parts(Result), Tag, Watch),
            {?MODULE, parts};
        false ->
            Result
    end.

taken(parts, Sender, Tag) ->
    Watch = erlang:monitor(process, Sender),
    Sender ! {Tag, more, self(), ?WINDOW},
    MFArgs = take(#{watch => Watch, tag => Tag, runner => Sender}, []),
    erlang:demonitor(Watch, [flush]),
    MFArgs;
taken(MFArgs, _Sender, _Tag) ->
    MFArgs.

take(#{watch := Watch, tag := Tag} = Sent, Got) ->
    receive
        {Tag, part, Part} -> take(more(Tag, Sent), [Part | Got]);
        {Tag, last} -> whole(Got);
        {'DOWN', Watch, process, _, _} -> exit(cancelled)
    end.

given([], _Tag, _Watch) ->
    ok;
given(Parts, Tag, Watch) ->
    receive
        {Tag, more, Sender, Count} -> given(give(Sender, Tag, Count, Parts), Tag, Watch);
        {'DOWN', Watch, process, _, _} -> exit(cancelled)
    end.

%% @doc The calling process is killed when that one ends, whatever it waits for.
-spec end_with(pid()) -> ok.
end_with(Asker) ->
    Runner = self(),
    _ = spawn(fun() -> watch(Asker, Runner) end),
    ok.

watch(Asker, Runner) ->
    Asking = erlang:monitor(process, Asker),
    Running = erlang:monitor(process, Runner),
    receive
        {'DOWN', Asking, process, _, _} -> exit(Runner, kill);
        {'DOWN', Running, process, _, _} -> ok
    end.

%%% The end of a process

%% @doc As `monitor(process, Pid)', whatever the node of that process does: the calling process is not suspended. What comes at last is a monitor's message, in which
%% the process is the one that was meant.
-spec monitor(pid()) -> monitor().
monitor(Pid) when node(Pid) =:= node() ->
    erlang:monitor(process, Pid);
monitor(Pid) ->
    Asker = self(),
    Tag = make_ref(),
    {spawn(fun() -> told(Pid, Asker, Tag) end), Tag}.

told(Pid, Asker, Tag) ->
    Asking = erlang:monitor(process, Asker),
    Watched = erlang:monitor(process, Pid),
    receive
        {'DOWN', Asking, process, _, _} -> ok;
        {'DOWN', Watched, process, _, Reason} -> Asker ! {'DOWN', Tag, process, Pid, Reason}
    end.

%% @doc The end of it. A message that is under way may still come, of a process on another node.
-spec demonitor(monitor()) -> true.
demonitor({Proxy, Tag}) ->
    exit(Proxy, kill),
    receive
        {'DOWN', Tag, process, _, _} -> true
    after 0 -> true
    end;
demonitor(Monitor) ->
    erlang:demonitor(Monitor, [flush]).

%%% Parts

give(_Peer, _Tag, 0, Parts) ->
    Parts;
give(_Peer, _Tag, _Count, []) ->
    [];
give(Peer, Tag, Count, [Part | Rest]) ->
    Peer ! {Tag, part, Part},
    Rest =:= [] andalso (Peer ! {Tag, last}),
    give(Peer, Tag, Count - 1, Rest).

%% As many again as have come.
more(Tag, #{runner := Peer} = Sent) ->
    case maps:get(come, Sent, 0) + 1 of
        ?AT_ONCE ->
            Peer ! {Tag, more, self(), ?AT_ONCE},
            Sent#{come => 0};
        Come ->
            Sent#{come => Come}
    end.

parts(Term) -> cut(term_to_iovec(Term), [], 0).

%% Large binaries are not copied.
cut([], [], _Bytes) -> [];
cut([], Part, _Bytes) -> [lists:reverse(Part)];
cut([Binary | Rest], Part, Bytes) when Bytes + byte_size(Binary) =< ?PART_BYTES -> cut(Rest, [Binary | Part], Bytes + byte_size(Binary));
cut([Binary | Rest], Part, Bytes) ->
    {Head, Tail} = split_binary(Binary, ?PART_BYTES - Bytes),
    [lists:reverse([Head | Part]) | cut([Tail | Rest], [], 0)].

whole(Got) -> binary_to_term(iolist_to_binary(lists:reverse(Got))).
