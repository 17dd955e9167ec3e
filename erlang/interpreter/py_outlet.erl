%%% @doc Where goes what an interpreter says unasked: texts, log records, messages. It counts what has been taken, and tells Python,
%%% which waits with more (credit). See "Output" in docs/architecture.md.
%%%
%%% Half of it belongs to the worker process and is a value: a text goes to its group leader at once, before whatever Python says
%%% next, and a message to its receiver. The other half is a process, which starts with the first output, gets the answers to
%%% what was sent, and never waits for anybody.
%%%
%%% The two share two words for each group leader: how many bytes it has not answered, and what has become of it.
%%%
%%% ```
%%% open     texts are sent                     -> stopped: it has not answered for `print_timeout', or has more than it may
%%% stopped  texts are dropped, and counted     -> open: it has answered all; it is told how much it was not shown
%%% dead     texts are dropped
%%% '''
%%% @private
-module(py_outlet).

-export([new/3, put/5, settle/1, ended/2, close/1, utf8/1, deliver/2]).
-export_type([outlet/0, output/0, leader/0]).

-record(outlet, {
    process = undefined :: undefined | pid(),
    %% Where Python sees what was taken: of a sandboxed one there is none.
    page :: undefined | file:filename_all(),
    timeout :: pos_integer(),
    most_bytes :: pos_integer(),
    %% How many bytes of output there were, and how many before the process was started.
    given :: non_neg_integer(),
    before :: non_neg_integer(),
    leaders = #{} :: #{pid() => atomics:atomics_ref()},
    %% Messages to one receiver that the process has not been told of.
    sent = none :: none | {To :: term(), Bytes :: pos_integer(), Count :: pos_integer()}
}).
-opaque outlet() :: #outlet{}.
-type output() ::
    {print, unicode:chardata()}
    | {log, logger:level(), unicode:chardata(), map()}
    | {send, To :: term(), Message :: term()}
    | ignored.
-type leader() :: {pid(), WaitsForUs :: boolean()}.
%% A group leader, and whether it is itself the caller of a call that has to end before it can take a text.

%% What a group leader may have before it at the most. An interpreter that keeps to its credit is far below.
-define(TRUSTED_BYTES, 67_108_864).
-define(BOXED_BYTES, 4_194_304).
-define(CALLER_BYTES, 1_048_576).
%% So much more taken is worth to be told. Python waits with four times that.
-define(STEP_BYTES, 65_536).
%% A receiver with a longer queue, or with one of more bytes, is waited for.
-define(LONG_QUEUE, 10_000).
-define(LONG_QUEUE_BYTES, 16_777_216).
%% The pause between two looks at long queues, and at what is late.
-define(QUEUE_MS, 20).
-define(LATE_MS, 250).
%% So many group leaders are kept before those with nothing before them are forgotten.
-define(LEADERS, 64).
%% The third word of the page.
-define(TAKEN_AT, 16).

-define(UNANSWERED, 1).
-define(STATE, 2).
-define(OPEN, 0).
-define(STOPPED, 1).
-define(DEAD, 2).

%%% The worker's half

%% @doc For one interpreter: its page, `undefined' where it is sandboxed, the pool's `print_timeout', and the bytes that were given
%% before.
-spec new(undefined | file:filename_all(), TimeoutMs :: pos_integer(), Given :: non_neg_integer()) -> outlet().
new(Page, Timeout, Given) ->
    MostBytes = if Page =:= undefined -> ?BOXED_BYTES; true -> ?TRUSTED_BYTES end,
    #outlet{page = Page, timeout = Timeout, most_bytes = MostBytes, given = Given, before = Given}.

%% @doc Let out what had so many bytes on its way here.
-spec put(output(), Bytes :: non_neg_integer(), leader(), map(), outlet()) -> outlet().
put(ignored, Bytes, _Leader, _Metadata, Outlet) ->
    #outlet{process = Process} = Running = running(Outlet#outlet{given = Outlet#outlet.given + Bytes}),
    Process ! {taken, Bytes},
    Running;
put({send, To, Message}, Bytes, _Leader, _Metadata, Outlet) ->
    deliver(To, Message),
    sent(To, Bytes, Outlet#outlet{given = Outlet#outlet.given + Bytes});
put({print, Text}, Bytes, Leader, _Metadata, Outlet) ->
    print(utf8(Text), Bytes, Leader, running(Outlet#outlet{given = Outlet#outlet.given + Bytes}));
put({log, Level, Text, Own}, Bytes, {Leader, _}, Metadata, Outlet) ->
    #outlet{process = Process} = Running = running(Outlet#outlet{given = Outlet#outlet.given + Bytes}),
    %% As if it were logged here and now.
    Said = maps:merge(Metadata#{gl => Leader, pid => self(), time => logger:timestamp()}, Own),
    %% A driver's connection gets it before what is said next; `logger' only keeps the books then.
    Told = py_leaders:tell(Leader, Level, Text, Said),
    Process ! {log, Bytes, Level, Text, if Told -> Said#{py_told => true}; true -> Said end},
    Running.

%% @doc A text as a binary: a list of code points takes sixteen bytes for each. What is no text stays as it is.
-spec utf8(term()) -> term().
utf8(Text) when is_binary(Text) -> Text;
utf8(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> Text
    catch
        error:badarg -> Text
    end.

%% @doc Send a message for Python. A name that is not registered loses it, as `gen_server:cast/2' does; a connection that has to be
%% made first is another process's to wait for.
-spec deliver(term(), term()) -> ok.
deliver(To, Message) ->
    try erlang:send(To, Message, [noconnect, nosuspend]) of
        ok -> ok;
        _ ->
            _ = spawn(erlang, send, [To, Message]),
            ok
    catch
        error:badarg -> ok
    end.

sent(To, Bytes, #outlet{sent = {To, Before, Count}} = Outlet) ->
    Outlet#outlet{sent = {To, Before + Bytes, Count + 1}};
sent(To, Bytes, Outlet) ->
    (settle(Outlet))#outlet{sent = {To, Bytes, 1}}.

%% @doc There is no more for the moment.
-spec settle(outlet()) -> outlet().
settle(#outlet{sent = none} = Outlet) ->
    Outlet;
settle(#outlet{sent = Sent} = Outlet) ->
    #outlet{process = Process} = Running = started(Outlet),
    Process ! {sent, Sent},
    Running#outlet{sent = none}.

print(Text, Bytes, {Leader, WaitsForUs}, #outlet{process = Process, most_bytes = Most} = Outlet) ->
    {Words, Next} = words(Leader, Outlet),
    Bound = if WaitsForUs -> ?CALLER_BYTES; true -> Most end,
    IsFull = atomics:get(Words, ?UNANSWERED) > Bound,
    _ = case atomics:get(Words, ?STATE) of
        ?DEAD ->
            Process ! {taken, Bytes};
        ?OPEN when not IsFull ->
            request(Text, Bytes, Leader, WaitsForUs, Words, Process);
        _ ->
            atomics:put(Words, ?STATE, ?STOPPED),
            Process ! {dropped, Leader, Words, Bytes, size_of(Text)}
    end,
    Next.

size_of(Text) when is_binary(Text) -> byte_size(Text);
size_of(_NoText) -> 1.

%% The process knows of the request before its answer can come.
request(Text, Bytes, Leader, WaitsForUs, Words, Process) ->
    Reference = make_ref(),
    atomics:add(Words, ?UNANSWERED, Bytes),
    Process ! {asked, Reference, Leader, Words, Bytes, WaitsForUs},
    case erlang:send(Leader, {io_request, Process, Reference, {put_chars, unicode, Text}}, [noconnect, nosuspend]) of
        ok -> ok;
        %% On another node, that is not connected or takes nothing.
        _ -> Process ! {unsent, Reference, size_of(Text)}
    end.

words(Leader, #outlet{leaders = Leaders} = Outlet) ->
    case Leaders of
        #{Leader := Words} ->
            {Words, Outlet};
        #{} ->
            Words = atomics:new(2, []),
            {Words, Outlet#outlet{leaders = (few(Leaders))#{Leader => Words}}}
    end.

few(Leaders) when map_size(Leaders) < ?LEADERS -> Leaders;
few(Leaders) ->
    maps:filter(fun(_, Words) -> atomics:get(Words, ?UNANSWERED) > 0 andalso atomics:get(Words, ?STATE) =/= ?DEAD end, Leaders).

running(Outlet) -> started(settle(Outlet)).

started(#outlet{process = undefined, page = Page, timeout = Timeout, before = Before} = Outlet) ->
    Worker = self(),
    Process = proc_lib:spawn_link(fun() -> init(Worker, Page, Timeout, Before) end),
    Outlet#outlet{process = Process};
started(Outlet) ->
    Outlet.

%% @doc Whether this was its process, which somebody has killed: the next one takes all that there was for taken.
-spec ended(pid(), outlet()) -> {ok, outlet()} | error.
ended(Process, #outlet{process = Process, page = Page, timeout = Timeout, given = Given}) ->
    {ok, started(new(Page, Timeout, Given))};
ended(_Process, _Outlet) ->
    error.

%% @doc The interpreter has ended. What was not shown may still be told.
-spec close(outlet()) -> ok.
close(#outlet{process = undefined}) ->
    ok;
close(#outlet{process = Process} = Outlet) ->
    _ = settle(Outlet),
    unlink(Process),
    Process ! close,
    ok.

%%% The process

-record(leader, {
    words :: atomics:atomics_ref(),
    monitor :: reference(),
    %% Requests that it has not answered, and when it last answered one, or was asked the first of them.
    count = 0 :: non_neg_integer(),
    moved = 0 :: integer(),
    %% Bytes, or records, that were dropped.
    unshown = 0 :: non_neg_integer(),
    is_logger = false :: boolean()
}).

-record(state, {
    worker :: pid(),
    page :: undefined | file:filename_all(),
    file = undefined :: undefined | file:io_device(),
    timeout :: pos_integer(),
    taken :: non_neg_integer(),
    told :: non_neg_integer(),
    %% Requests by their references: whose, of how many bytes, and whether they count already.
    open = #{} :: #{reference() => {pid(), Bytes :: non_neg_integer(), open | taken}},
    leaders = #{} :: #{pid() => #leader{}},
    slow = #{} :: #{pid() => {Average :: non_neg_integer(), [{Bytes :: pos_integer(), SinceMs :: integer()}]}},
    logger = undefined :: undefined | pid(),
    timer = undefined :: undefined | reference(),
    closing = undefined :: undefined | (SinceMs :: integer())
}).

init(Worker, Page, Timeout, Taken) ->
    process_flag(trap_exit, true),
    %% Where a predecessor was killed, Python may be waiting for all of it.
    Told = if Taken =:= 0 -> 0; true -> -?STEP_BYTES end,
    loop(tell(#state{worker = Worker, page = Page, timeout = Timeout, taken = Taken, told = Told})).

loop(State) ->
    receive
        Message ->
            case ticking(tell(handled(Message, State))) of
                #state{closing = Since} = Next when Since =/= undefined -> closing(Next);
                Next -> loop(Next)
            end
    end.

closing(#state{leaders = Leaders, closing = Since, timeout = Timeout} = State) ->
    Now = now_ms(),
    case [Pid || {Pid, #leader{count = Count}} <- maps:to_list(Leaders), Count > 0] of
        [_ | _] when Now - Since < Timeout -> loop(State);
        _ -> exit(shutdown)
    end.

now_ms() -> erlang:monotonic_time(millisecond).

handled({io_reply, Reference, _}, State) when is_reference(Reference) ->
    answered(Reference, 0, State);
handled({asked, Reference, Leader, Words, Bytes, WaitsForUs}, State) ->
    Asked = asked(Reference, Leader, Words, Bytes, State),
    case WaitsForUs of
        true -> taken(Reference, Asked);
        false -> Asked
    end;
handled({unsent, Reference, Size}, State) ->
    answered(Reference, Size, State);
handled({dropped, Leader, Words, Bytes, Size}, State) ->
    dropped(Leader, Size, leader(Leader, Words, State#state{taken = State#state.taken + Bytes}));
handled({taken, Bytes}, State) ->
    State#state{taken = State#state.taken + Bytes};
handled({log, Bytes, Level, Text, Metadata}, State) ->
    log(Bytes, Level, Text, Metadata, logger(State));
handled({sent, {To, Bytes, Count}}, State) ->
    received(local(To), Bytes, Count, State);
handled({timeout, Timer, tick}, #state{timer = Timer} = State) ->
    late(looked(State#state{timer = undefined}));
handled({'DOWN', _, process, Leader, Reason}, State) ->
    down(Leader, Reason, State);
handled({'EXIT', Worker, _}, #state{worker = Worker} = State) ->
    closed(State);
handled(close, State) ->
    closed(State);
handled(_Message, State) ->
    State.

closed(#state{file = undefined} = State) ->
    State#state{closing = now_ms(), page = undefined};
closed(#state{file = File} = State) ->
    _ = file:close(File),
    closed(State#state{file = undefined}).

%%% Requests

asked(Reference, Leader, Words, Bytes, State) ->
    #state{open = Open, leaders = #{Leader := Known} = Leaders} = Next = leader(Leader, Words, State),
    Asked =
        case Known of
            #leader{count = 0} -> Known#leader{count = 1, moved = now_ms()};
            #leader{count = Count} -> Known#leader{count = Count + 1}
        end,
    Next#state{open = Open#{Reference => {Leader, Bytes, open}}, leaders = Leaders#{Leader := Asked}}.

leader(Leader, Words, #state{leaders = Leaders} = State) ->
    case Leaders of
        #{Leader := #leader{words = Words}} ->
            State;
        #{Leader := Known} ->
            State#state{leaders = Leaders#{Leader := Known#leader{words = Words}}};
        #{} ->
            Known = #leader{words = Words, monitor = monitor(process, Leader)},
            State#state{leaders = Leaders#{Leader => Known}}
    end.

%% From now on its bytes count, whenever the answer comes.
taken(Reference, #state{open = Open, taken = Taken} = State) ->
    case Open of
        #{Reference := {_, _, taken}} -> State;
        #{Reference := {Leader, Bytes, _}} ->
            State#state{open = Open#{Reference := {Leader, Bytes, taken}}, taken = Taken + Bytes}
    end.

answered(Reference, Unshown, #state{open = Open} = State) when is_map_key(Reference, Open) ->
    #state{leaders = Leaders} = Taken = taken(Reference, State),
    {{Leader, Bytes, _}, Left} = maps:take(Reference, Open),
    #{Leader := #leader{words = Words, count = Count, unshown = Before} = Known} = Leaders,
    atomics:sub(Words, ?UNANSWERED, Bytes),
    Next = Known#leader{count = Count - 1, moved = now_ms(), unshown = Before + Unshown},
    shown(Leader, Taken#state{open = Left, leaders = Leaders#{Leader := Next}});
answered(_Reference, _Unshown, State) ->
    State.

dropped(Leader, Size, #state{leaders = Leaders} = State) ->
    #{Leader := #leader{unshown = Unshown} = Known} = Leaders,
    shown(Leader, State#state{leaders = Leaders#{Leader := Known#leader{unshown = Unshown + Size}}}).

%% It has answered all that it was asked: what it was not shown is told, and then texts come again.
shown(Leader, #state{leaders = Leaders} = State) ->
    case Leaders of
        #{Leader := #leader{count = 0, words = Words, unshown = Unshown} = Known} ->
            Unshown > 0 andalso tell_unshown(Leader, Known),
            atomics:put(Words, ?STATE, ?OPEN),
            State#state{leaders = Leaders#{Leader := Known#leader{unshown = 0}}};
        #{} ->
            State
    end.

tell_unshown(Logger, #leader{is_logger = true, unshown = Count}) ->
    Text = io_lib:format("~w log records of Python's were dropped, as nothing took those before them", [Count]),
    Logger ! {log, self(), make_ref(), warning, Text, #{}};
tell_unshown(Leader, #leader{unshown = Bytes}) ->
    Text = io_lib:format("py: ~w bytes of what Python printed are not shown, as nothing took what stood before them~n", [Bytes]),
    Request = {io_request, self(), make_ref(), {put_chars, unicode, unicode:characters_to_binary(Text)}},
    erlang:send(Leader, Request, [noconnect, nosuspend]).

down(Leader, Reason, #state{open = Open, leaders = Leaders, logger = Logger} = State) ->
    case maps:take(Leader, Leaders) of
        {#leader{words = Words}, Left} ->
            %% Whoever is connected again may take texts again.
            Reason =:= noconnection orelse atomics:put(Words, ?STATE, ?DEAD),
            References = [Reference || {Reference, {Of, _, _}} <- maps:to_list(Open), Of =:= Leader],
            Taken = lists:foldl(fun taken/2, State, References),
            Lost = lists:sum([Bytes || Reference <- References, {_, Bytes, _} <- [map_get(Reference, Open)]]),
            atomics:sub(Words, ?UNANSWERED, Lost),
            Taken#state{
                open = maps:without(References, Open),
                leaders = Left,
                logger = if Logger =:= Leader -> undefined; true -> Logger end
            };
        error ->
            State
    end.

%%% Log records

%% Logging may wait for a handler, which this process does not.
logger(#state{logger = undefined, leaders = Leaders} = State) ->
    Logger = proc_lib:spawn_link(fun log_each/0),
    Known = #leader{words = atomics:new(2, []), monitor = monitor(process, Logger), is_logger = true},
    State#state{logger = Logger, leaders = Leaders#{Logger => Known}};
logger(State) ->
    State.

log(Bytes, Level, Text, Metadata, #state{logger = Logger, leaders = Leaders, taken = Taken} = State) ->
    #{Logger := #leader{words = Words}} = Leaders,
    case atomics:get(Words, ?STATE) =:= ?STOPPED orelse atomics:get(Words, ?UNANSWERED) > ?BOXED_BYTES of
        true ->
            atomics:put(Words, ?STATE, ?STOPPED),
            dropped(Logger, 1, State#state{taken = Taken + Bytes});
        false ->
            Reference = make_ref(),
            atomics:add(Words, ?UNANSWERED, Bytes),
            Logger ! {log, self(), Reference, Level, Text, Metadata},
            asked(Reference, Logger, Words, Bytes, State)
    end.

log_each() ->
    receive
        {log, From, Reference, Level, Text, Metadata} ->
            logger:log(Level, "~ts", [Text], Metadata),
            From ! {io_reply, Reference, ok},
            log_each()
    end.

%%% Messages

local(Pid) when is_pid(Pid), node(Pid) =:= node() -> Pid;
local(Name) when is_atom(Name) -> whereis(Name);
local({Name, Node}) when Node =:= node() -> whereis(Name);
local(_) -> undefined.

received(Pid, Bytes, Count, #state{slow = Slow, taken = Taken} = State) when is_pid(Pid) ->
    Average = Bytes div Count,
    case Slow of
        #{Pid := {Before, Waiting}} ->
            State#state{slow = Slow#{Pid := {max(Before, Average), [{Bytes, now_ms()} | Waiting]}}};
        #{} ->
            case is_behind(Pid, Average) of
                true -> State#state{slow = Slow#{Pid => {Average, [{Bytes, now_ms()}]}}};
                false -> State#state{taken = Taken + Bytes}
            end
    end;
received(_NobodyHere, Bytes, _Count, #state{taken = Taken} = State) ->
    State#state{taken = Taken + Bytes}.

is_behind(Pid, Average) ->
    case process_info(Pid, message_queue_len) of
        {message_queue_len, Length} -> Length > ?LONG_QUEUE orelse Length * Average > ?LONG_QUEUE_BYTES;
        undefined -> false
    end.

looked(#state{slow = Slow} = State) when map_size(Slow) =:= 0 -> State;
looked(#state{slow = Slow} = State) -> maps:fold(fun look/3, State#state{slow = #{}}, Slow).

look(Pid, {Average, Waiting}, #state{slow = Slow, taken = Taken, timeout = Timeout} = State) ->
    Late = now_ms() - Timeout,
    {Over, Left} =
        case is_behind(Pid, Average) of
            true -> lists:partition(fun({_, Since}) -> Since =< Late end, Waiting);
            false -> {Waiting, []}
        end,
    State#state{
        taken = Taken + lists:sum([Bytes || {Bytes, _} <- Over]),
        slow = if Left =:= [] -> Slow; true -> Slow#{Pid => {Average, Left}} end
    }.

%%% What is late

%% Whoever has answered nothing for that long is stopped, and what it has before it counts as taken.
late(#state{leaders = Leaders, open = Open, timeout = Timeout} = State) ->
    Late = now_ms() - Timeout,
    case maps:filter(fun(_, #leader{count = Count, moved = Moved}) -> Count > 0 andalso Moved =< Late end, Leaders) of
        None when map_size(None) =:= 0 ->
            idle(State);
        Stuck ->
            _ = [atomics:put(Words, ?STATE, ?STOPPED) || #leader{words = Words} <- maps:values(Stuck)],
            Overdue = [Reference || {Reference, {Leader, _, open}} <- maps:to_list(Open), is_map_key(Leader, Stuck)],
            idle(lists:foldl(fun taken/2, State, Overdue))
    end.

%% Those that were asked nothing since the last look are forgotten.
idle(#state{leaders = Leaders, logger = Logger} = State) ->
    Idle = [{Pid, Monitor} || {Pid, #leader{count = 0, monitor = Monitor}} <- maps:to_list(Leaders), Pid =/= Logger],
    _ = [demonitor(Monitor, [flush]) || {_, Monitor} <- Idle],
    State#state{leaders = maps:without([Pid || {Pid, _} <- Idle], Leaders)}.

ticking(#state{timer = undefined, slow = Slow} = State) when map_size(Slow) > 0 ->
    State#state{timer = erlang:start_timer(?QUEUE_MS, self(), tick)};
ticking(#state{timer = undefined, leaders = Leaders, logger = Logger, timeout = Timeout} = State) when
    map_size(Leaders) > 1; map_size(Leaders) > 0, Logger =:= undefined; map_size(State#state.open) > 0
->
    State#state{timer = erlang:start_timer(max(1, min(?LATE_MS, Timeout div 4)), self(), tick)};
ticking(State) ->
    State.

%%% Python's page

tell(#state{page = Page, taken = Taken, told = Told} = State) when Page =:= undefined; Taken - Told < ?STEP_BYTES ->
    State;
tell(#state{file = undefined, page = Page} = State) ->
    case file:open(Page, [raw, binary, read, write]) of
        {ok, File} -> tell(State#state{file = File});
        %% It has gone, and Python with it.
        {error, _} -> State#state{page = undefined}
    end;
tell(#state{file = File, taken = Taken} = State) ->
    _ = file:pwrite(File, ?TAKEN_AT, <<Taken:64/native>>),
    State#state{told = Taken}.
