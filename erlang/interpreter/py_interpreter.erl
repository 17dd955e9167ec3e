%%% @doc One interpreter, from its start to its end: the port, its reader, the process, its standard error, the calls it has begun.
%%%
%%% Belongs to the worker process and is changed by nothing but the messages that the worker hands to {@link message/2}.
%%% Knows no call.
%%%
%%% Two things that a process leaves behind are read after its end. What it wrote to standard error comes over a socket of
%%% its own, is passed on to the standard error of the BEAM, and its last lines are kept. How many calls it began stands
%%% in a mapped page (a file of eight words in the machine's byte order: see "Output" in docs/architecture.md), which Python
%%% counts up before it runs one.
%%% @private
-module(py_interpreter).

-export([open/2, settings/1, connect/2, os_pid/1, box_os_pid/1, memory_bytes/1, own_bytes/1, exceeds/2, unread_bytes/1, python/1]).
-export([write/2, write_all/3, flush/1, is_pending/1, output/5, settle/1, message/2]).
-export([kill/2, interrupt/1, insist/1, raises/2, ring/1, look/1, is_doomed/1, is_gone/1, begun/1, paced/1, limit/2, read_us/1, reason/1, close/1]).
-export_type([interpreter/0, paced/0]).

-record(interpreter, {
    port :: port(),
    reader :: py_reader:reader(),
    taken :: py_reader:taken(),
    read_us = 0 :: integer(),
    channel :: py_channel:channel(),
    os_pid :: non_neg_integer(),
    %% Of one that was forked from a zygote: the port's program, which waits for its end.
    stub = undefined :: undefined | non_neg_integer(),
    has_zygote :: boolean(),
    %% Of a sandboxed one: its box, and its own number in place of that of the program that made the box.
    box = undefined :: undefined | py_sandbox:box(),
    inner = undefined :: undefined | non_neg_integer(),
    %% What it is interrupted by, where it has said so.
    signal = undefined :: undefined | 1..64,
    python :: file:filename_all(),
    page :: file:filename_all(),
    listener = undefined :: undefined | gen_tcp:socket(),
    errors = undefined :: undefined | gen_tcp:socket(),
    said = <<>> :: binary(),
    %% A text of its that the standard error of the BEAM has not taken, and how long the next one has to wait when it has.
    passing = undefined :: undefined | {reference(), DelayMs :: non_neg_integer()},
    outlet :: py_outlet:outlet(),
    print_timeout :: pos_integer(),
    %% What a sandboxed one has written to it in which second.
    written = {0, 0} :: {Second :: integer(), Bytes :: non_neg_integer()},
    status = undefined :: undefined | non_neg_integer(),
    eof = false :: boolean(),
    doom = undefined :: term()
}).
-opaque interpreter() :: #interpreter{}.
-type paced() :: {Begun :: non_neg_integer(), Short :: non_neg_integer(), Ns :: non_neg_integer()}.

%% The names of the extension modules alone, which Python says at last, are thousands of characters.
-define(KEPT_BYTES, 16_384).
%% In the page, where every call may begin.
-define(NO_LIMIT, 16#FFFFFFFFFFFFFFFF).
%% How long it may take to ring, where what was rung before is not taken.
-define(RING_MS, 1).
%% What a sandboxed Python may write to its standard error in a second.
-define(MOST_WRITTEN_BYTES, 262_144).
%% A frame of a box that may have any memory.
-define(MOST_FRAME_BYTES, (1 bsl 30)).
%% What a box may hold beside what max_memory lets one process allocate.
-define(ASIDE_BYTES, 4_194_304).

%% @doc Start an interpreter for this worker; the calling process owns it.
-spec open(py_config:pool(), Name :: string()) -> {ok, interpreter()} | {error, py_launcher:reason()}.
open(#{print_timeout := PrintTimeout} = Config, Name) ->
    case py_launcher:find(Config) of
        {ok, _Source, Python} ->
            Page = py_directory:path(Name ++ ".calls"),
            Listener = listen(Page),
            Way = way(Config, Python),
            case py_reader:open(Way, Python, stderr(Listener, Page), kind(Config)) of
                {ok, Reader, Port, OsPid, Box, Taken} ->
                    Interpreter = #interpreter{
                        port = Port,
                        reader = Reader,
                        taken = Taken,
                        channel = py_channel:new(Port),
                        os_pid = OsPid,
                        has_zygote = is_map_key(zygote, Way),
                        box = Box,
                        python = Python,
                        page = Page,
                        listener = Listener,
                        outlet = py_outlet:new(if Box =:= undefined -> Page; true -> undefined end, PrintTimeout, 0),
                        print_timeout = PrintTimeout
                    },
                    {ok, opened(Interpreter)};
                {error, _} = Error ->
                    unlisten(Listener, Page),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% From a zygote, or from nothing.
way(Config, Python) ->
    case py_zygote:socket(Config, Python) of
        {ok, Socket} -> Config#{zygote => Socket};
        none -> Config
    end.

opened(#interpreter{box = Box, os_pid = OsPid, page = Page} = Interpreter) ->
    py_watchdog:watch(OsPid, [Page, Page ++ ".err"]),
    Box =:= undefined andalso file:write_file(Page, <<0:64, -1:64, 0:(6 * 64)>>) =:= ok andalso file:change_mode(Page, 8#600),
    Interpreter.

%% A sandboxed Python has nothing honest to say that is larger than its memory.
kind(#{sandbox := none}) -> {trusted, infinity};
kind(#{max_memory := Most}) when is_integer(Most) -> {boxed, Most};
kind(_) -> {boxed, ?MOST_FRAME_BYTES}.

listen(Page) ->
    case gen_tcp:listen(0, [{ifaddr, {local, Page ++ ".err"}}, binary, {active, false}, {backlog, 1}]) of
        {ok, Socket} -> Socket;
        {error, _} -> undefined
    end.

unlisten(undefined, _Page) ->
    ok;
unlisten(Listener, Page) ->
    gen_tcp:close(Listener),
    _ = file:delete(Page ++ ".err"),
    ok.

stderr(undefined, _Page) -> undefined;
stderr(_Listener, Page) -> Page ++ ".err".

%% @doc What Python must know to use both.
-spec settings(interpreter()) -> #{page := binary() | undefined, stderr := binary() | undefined}.
settings(#interpreter{box = Box}) when Box =/= undefined ->
    py_sandbox:settings(Box);
settings(#interpreter{page = Page, listener = Listener}) ->
    Path = unicode:characters_to_binary(Page),
    case Listener of
        undefined -> #{page => Path, stderr => undefined};
        _ -> #{page => Path, stderr => <<Path/binary, ".err">>}
    end.

%% @doc Python has read the settings, and has told its number: from now on it is heard on its standard error. What is done to a
%% fork of a zygote is done to that number.
-spec connect(OsPid :: term(), interpreter()) -> interpreter().
connect(OsPid, #interpreter{has_zygote = true, os_pid = Stub} = Interpreter) when is_integer(OsPid), OsPid > 0, OsPid =/= Stub ->
    #interpreter{reader = Reader, page = Page} = Interpreter,
    py_watchdog:watch(OsPid, [Page, Page ++ ".err"]),
    py_reader:adopt(Reader, OsPid),
    hear(Interpreter#interpreter{os_pid = OsPid, stub = Stub});
connect(_OsPid, #interpreter{box = undefined} = Interpreter) ->
    hear(Interpreter);
connect(_OsPid, #interpreter{box = Box, os_pid = OsPid} = Interpreter) ->
    hear(Interpreter#interpreter{inner = py_sandbox:inner(Box, OsPid)}).

hear(#interpreter{listener = undefined} = Interpreter) ->
    Interpreter;
hear(#interpreter{listener = Listener, page = Page} = Interpreter) ->
    Connected =
        case gen_tcp:accept(Listener, 0) of
            {ok, Socket} ->
                _ = inet:setopts(Socket, [{active, once}, {send_timeout, ?RING_MS}]),
                Interpreter#interpreter{errors = Socket};
            {error, _} ->
                Interpreter
        end,
    unlisten(Listener, Page),
    Connected#interpreter{listener = undefined}.

%% @doc Its number in the operating system; of a sandboxed one that is not known yet, the number of what makes its box.
-spec os_pid(interpreter()) -> non_neg_integer().
os_pid(#interpreter{inner = undefined, os_pid = OsPid}) -> OsPid;
os_pid(#interpreter{inner = Inner}) -> Inner.

%% @doc The number of what has made its box.
-spec box_os_pid(interpreter()) -> non_neg_integer() | undefined.
box_os_pid(#interpreter{box = undefined}) -> undefined;
box_os_pid(#interpreter{os_pid = OsPid}) -> OsPid.

%% @doc How much memory it has in use, in bytes; a sandboxed one with all that it has started.
-spec memory_bytes(interpreter()) -> non_neg_integer() | undefined.
memory_bytes(#interpreter{box = undefined, os_pid = OsPid}) ->
    py_launcher:resident_bytes(OsPid);
memory_bytes(#interpreter{os_pid = OsPid}) ->
    case [Bytes || Pid <- py_sandbox_processes:all(OsPid), Bytes <- [py_launcher:resident_bytes(Pid)], is_integer(Bytes)] of
        [] -> undefined;
        Some -> lists:sum(Some)
    end.

%% @doc How much memory of its own it has, in bytes, which its end gives back; a sandboxed one with all that it has started.
-spec own_bytes(interpreter()) -> non_neg_integer() | undefined.
own_bytes(#interpreter{stub = Stub, os_pid = OsPid}) when Stub =/= undefined -> py_launcher:private_bytes(OsPid);
own_bytes(#interpreter{box = undefined, os_pid = OsPid}) -> py_launcher:own_bytes(OsPid);
own_bytes(#interpreter{os_pid = OsPid}) -> py_sandbox_processes:held_bytes(OsPid).

%% @doc Whether a sandboxed one, with all that it has started, has more memory of its own than this. A process that has as much
%% as it can get is told so by its system; its stack, and the first process of the box, are no reason to end it.
-spec exceeds(MostBytes :: pos_integer(), interpreter()) -> {true, Bytes :: pos_integer()} | false.
exceeds(Most, #interpreter{box = Box, os_pid = OsPid}) when Box =/= undefined ->
    case py_sandbox_processes:held_bytes(OsPid) > Most + ?ASIDE_BYTES andalso py_sandbox_processes:exactly_held_bytes(OsPid) of
        Bytes when is_integer(Bytes), Bytes > Most + ?ASIDE_BYTES -> {true, Bytes};
        _ -> false
    end;
exceeds(_, _) ->
    false.

%% @doc How many bytes wait in its port because it does not read them.
-spec unread_bytes(interpreter()) -> non_neg_integer().
unread_bytes(#interpreter{port = Port}) ->
    case erlang:port_info(Port, queue_size) of
        {queue_size, Bytes} -> Bytes;
        undefined -> 0
    end.

-spec python(interpreter()) -> file:filename_all().
python(#interpreter{python = Python}) -> Python.

%%% The channel

-spec write(iodata(), interpreter()) -> interpreter().
write(Frame, #interpreter{channel = Channel} = Interpreter) ->
    Interpreter#interpreter{channel = py_channel:write(Frame, Channel)}.

%% @doc So many frames, newest first, each with its length.
-spec write_all([iodata()], Count :: pos_integer(), interpreter()) -> interpreter().
write_all(Frames, Count, #interpreter{channel = Channel} = Interpreter) ->
    Interpreter#interpreter{channel = py_channel:write_all(Frames, Count, Channel)}.

-spec flush(interpreter()) -> interpreter().
flush(#interpreter{channel = Channel} = Interpreter) -> Interpreter#interpreter{channel = py_channel:flush(Channel)}.

-spec is_pending(interpreter()) -> boolean().
is_pending(#interpreter{channel = Channel}) -> py_channel:is_pending(Channel).

%% @doc Let out what it says unasked, which had so many bytes on its way here.
-spec output(py_outlet:output(), Bytes :: non_neg_integer(), py_outlet:leader(), map(), interpreter()) -> interpreter().
output(Output, Bytes, Leader, Metadata, #interpreter{outlet = Outlet} = Interpreter) ->
    Interpreter#interpreter{outlet = py_outlet:put(Output, Bytes, Leader, Metadata, Outlet)}.

%% @doc That was all for the moment.
-spec settle(interpreter()) -> interpreter().
settle(#interpreter{outlet = Outlet} = Interpreter) -> Interpreter#interpreter{outlet = py_outlet:settle(Outlet)}.

%% @doc What a message of the worker process means for its interpreter: frames that came; bytes that are none; that its reader
%% has killed it; that it may have ended (its pipes, its status and its standard error end in any order; all of them, or nothing
%% that could still be waited for: `ended'); nothing that the worker must know; or that it was not meant for the interpreter.
-spec message(term(), interpreter()) ->
    {frames, Frames :: binary(), Answers :: non_neg_integer(), interpreter()}
    | {bad, binary(), interpreter()}
    | {killed | ending | ended | none, interpreter()}
    | unknown.
message({Reader, Event}, #interpreter{reader = Reader} = Interpreter) ->
    read(Event, Interpreter);
message({'EXIT', Reader, _}, #interpreter{reader = Reader, os_pid = OsPid} = Interpreter) ->
    %% The port has gone with it.
    py_launcher:kill(OsPid),
    {ended, Interpreter};
message({'EXIT', Pid, _}, #interpreter{outlet = Outlet} = Interpreter) ->
    case py_outlet:ended(Pid, Outlet) of
        {ok, Next} -> {none, Interpreter#interpreter{outlet = Next}};
        error -> unknown
    end;
message({tcp, Socket, Bytes}, #interpreter{errors = Socket, said = Said, box = Box} = Interpreter) ->
    Data = if Box =:= undefined -> Bytes; true -> py_guard:visible(Bytes) end,
    {none, passed_on(Data, heard(byte_size(Bytes), Interpreter#interpreter{said = tail(<<Said/binary, Data/binary>>)}))};
message({io_reply, Reference, _}, #interpreter{passing = {Reference, Delay}} = Interpreter) ->
    {none, hear_again(Delay, Interpreter)};
message({not_taken, Reference}, #interpreter{passing = {Reference, Delay}} = Interpreter) ->
    {none, hear_again(Delay, Interpreter)};
message({hear, Socket}, #interpreter{errors = Socket} = Interpreter) ->
    {none, hear_again(0, Interpreter)};
message({tcp_closed, Socket}, #interpreter{errors = Socket} = Interpreter) ->
    ending_if_gone(Interpreter#interpreter{errors = undefined});
message({tcp_error, Socket, _}, #interpreter{errors = Socket} = Interpreter) ->
    {none, Interpreter};
message(_Message, _Interpreter) ->
    unknown.

read({frames, Frames, Answers, Bytes, Count, ReadUs}, #interpreter{taken = Taken} = Interpreter) ->
    py_reader:taken(Bytes, Count, Taken),
    {frames, Frames, Answers, Interpreter#interpreter{read_us = ReadUs}};
read({bad, Head}, Interpreter) ->
    {bad, Head, Interpreter};
read({flooded, _} = Flooded, #interpreter{doom = Doom} = Interpreter) ->
    {killed, Interpreter#interpreter{doom = if Doom =:= undefined -> Flooded; true -> Doom end}};
read({exit_status, Status}, #interpreter{stub = Stub, os_pid = OsPid} = Interpreter) ->
    %% The stub may have been killed, and the fork not yet. It must begin no more calls.
    _ = Stub =:= undefined orelse py_launcher:end_group(OsPid),
    ending(hear_rest(Interpreter#interpreter{status = Status}));
read(eof, Interpreter) ->
    ending(hear_rest(Interpreter#interpreter{eof = true}));
read(closed, #interpreter{os_pid = OsPid} = Interpreter) ->
    %% A write to a pipe that nobody reads closes the port, and no exit status comes any more.
    py_launcher:kill(OsPid),
    {ended, Interpreter};
read(lost, Interpreter) ->
    {ended, Interpreter}.

ending(#interpreter{status = Status, eof = true, errors = undefined} = Interpreter) when Status =/= undefined ->
    {ended, Interpreter};
ending(Interpreter) ->
    {ending, Interpreter}.

%% It may close its standard error and live on.
ending_if_gone(#interpreter{status = undefined, eof = false} = Interpreter) -> {none, Interpreter};
ending_if_gone(Interpreter) -> ending(Interpreter).

%% A sandboxed Python that writes more than a terminal can take has to wait with it.
heard(_More, #interpreter{box = undefined} = Interpreter) ->
    {0, Interpreter};
heard(More, #interpreter{written = {Second, Bytes}} = Interpreter) ->
    case erlang:monotonic_time(second) of
        Second when Bytes + More > ?MOST_WRITTEN_BYTES -> {1_000, Interpreter#interpreter{written = {Second, Bytes + More}}};
        Second -> {0, Interpreter#interpreter{written = {Second, Bytes + More}}};
        Now -> {0, Interpreter#interpreter{written = {Now, More}}}
    end.

%% As an I/O request: the worker never waits for a terminal. Python does, if it writes more before the text was taken, but not
%% longer than it waits with what it prints.
passed_on(Data, {Delay, #interpreter{print_timeout = Timeout} = Interpreter}) ->
    case whereis(standard_error) of
        undefined ->
            hear_again(Delay, Interpreter);
        Device ->
            Reference = make_ref(),
            Device ! {io_request, self(), Reference, {put_chars, latin1_or_unicode(Data), Data}},
            case is_gone(Interpreter) of
                %% The last words are not many.
                true ->
                    hear_again(0, Interpreter);
                false ->
                    _ = erlang:send_after(Timeout, self(), {not_taken, Reference}),
                    Interpreter#interpreter{passing = {Reference, Delay}}
            end
    end.

hear_again(0, #interpreter{errors = Socket} = Interpreter) ->
    _ = Socket =:= undefined orelse inet:setopts(Socket, [{active, once}]),
    Interpreter#interpreter{passing = undefined};
hear_again(Delay, #interpreter{errors = Socket} = Interpreter) ->
    _ = erlang:send_after(Delay, self(), {hear, Socket}),
    Interpreter#interpreter{passing = undefined}.

%% What it wrote before its end is still to come.
hear_rest(#interpreter{passing = undefined} = Interpreter) -> Interpreter;
hear_rest(Interpreter) -> hear_again(0, Interpreter).

latin1_or_unicode(Data) ->
    case unicode:characters_to_binary(Data) of
        Data -> unicode;
        _ -> latin1
    end.

tail(Said) when byte_size(Said) =< ?KEPT_BYTES -> Said;
tail(Said) -> binary:copy(binary:part(Said, byte_size(Said), -?KEPT_BYTES)).

%%% The end

%% @doc Kill it; what it dies of is this reason, not the signal. Its end is still to come, as a message.
-spec kill(term(), interpreter()) -> interpreter().
kill(Reason, #interpreter{doom = undefined, os_pid = OsPid} = Interpreter) ->
    py_launcher:kill(OsPid),
    Interpreter#interpreter{doom = Reason};
kill(_Reason, Interpreter) ->
    Interpreter.

%% @doc Have its main thread look, between two bytecodes, at what has arrived: by a ring, which Python's second thread hears and raises the
%% signal for; where there is no bell, by the signal.
-spec interrupt(interpreter()) -> ok.
interrupt(#interpreter{errors = undefined} = Interpreter) -> signal(Interpreter);
interrupt(Interpreter) -> ring(<<1>>, Interpreter).

%% @doc The same once more, to a Python that has not heeded it: by the signal, too, which C code may look for that keeps the
%% interpreter's lock.
-spec insist(interpreter()) -> ok.
insist(#interpreter{box = Box, inner = undefined} = Interpreter) when Box =/= undefined ->
    interrupt(Interpreter);
insist(Interpreter) ->
    signal(Interpreter),
    ring(<<2>>, Interpreter).

signal(#interpreter{box = undefined, os_pid = OsPid, signal = Signal}) -> py_launcher:interrupt(OsPid, Signal);
%% What made the box would end of it.
signal(#interpreter{inner = undefined}) -> ok;
signal(#interpreter{inner = Inner, signal = Signal}) -> py_launcher:interrupt(Inner, Signal).

%% @doc User code has taken the signal that it was interrupted by: from now on it is this one. A box may ask for what it likes: the
%% signal is raised in its Python alone, and only where that catches it.
-spec raises(Signal :: 1..64, interpreter()) -> interpreter().
raises(Signal, Interpreter) -> Interpreter#interpreter{signal = Signal}.

%% @doc Ask for the answers that are ready, whatever Python does: by the socket of its standard error, where it reads nothing else.
-spec ring(interpreter()) -> ok.
ring(Interpreter) -> ring(<<0>>, Interpreter).

ring(_What, #interpreter{errors = undefined}) ->
    ok;
ring(What, #interpreter{errors = Socket}) ->
    _ = gen_tcp:send(Socket, What),
    ok.

%% @doc See soon whether its process has ended without a word.
-spec look(interpreter()) -> ok.
look(#interpreter{reader = Reader}) -> py_reader:look(Reader).

-spec is_doomed(interpreter()) -> boolean().
is_doomed(#interpreter{doom = Doom}) -> Doom =/= undefined.

%% @doc Whether there is a sign of its end.
-spec is_gone(interpreter()) -> boolean().
is_gone(#interpreter{status = Status, eof = Eof}) -> Status =/= undefined orelse Eof.

%% @doc How many calls it has begun, also when it is dead; `unknown' of a Python that does not count.
-spec begun(interpreter()) -> non_neg_integer() | unknown.
begun(#interpreter{box = Box}) when Box =/= undefined -> unknown;
begun(#interpreter{page = Page}) ->
    case file:read_file(Page) of
        {ok, <<Count:64/native, _/binary>>} -> Count;
        _ -> unknown
    end.

%% @doc How many calls it has begun; how many were short, and how many nanoseconds those have taken.
-spec paced(interpreter()) -> paced() | none.
paced(#interpreter{page = Page}) ->
    case file:read_file(Page) of
        {ok, <<Begun:64/native, _:128, Count:64/native, Ns:64/native, _/binary>>} -> {Begun, Count, Ns};
        _ -> none
    end.

%% @doc Let it begin no call with a greater number than this, as long as it has not been told which ones it has lost: the number of the
%% last that it keeps. `busy': it has not yet heard of the last time, or there is no page. Each side writes its word, then reads the
%% other's, with a barrier between.
-spec limit(non_neg_integer(), interpreter()) -> non_neg_integer() | busy.
limit(Least, #interpreter{page = Page, box = undefined}) ->
    case file:open(Page, [read, write, raw, binary]) of
        {ok, File} ->
            try
                limited(Least, File)
            after
                file:close(File)
            end;
        {error, _} ->
            busy
    end;
limit(_Least, _Interpreter) ->
    busy.

limited(Least, File) ->
    case file:pread(File, 0, 16) of
        {ok, <<Before:64/native, ?NO_LIMIT:64/native>>} ->
            Limit = max(Least, Before),
            case file:pwrite(File, 8, <<Limit:64/native>>) of
                ok -> last_kept(Limit, File);
                {error, _} -> busy
            end;
        _ ->
            busy
    end.

last_kept(Limit, File) ->
    Barrier = atomics:new(1, []),
    1 = atomics:add_get(Barrier, 1, 1),
    case {file:pread(File, 0, 8), file:pread(File, 0, 8)} of
        {{ok, <<First:64/native>>}, {ok, <<Again:64/native>>}} -> lists:max([Limit, First, Again]);
        %% It is to go on, and keeps all.
        _ -> ?NO_LIMIT
    end.

%% @doc When what it has said last was read, in microseconds of the monotonic clock.
-spec read_us(interpreter()) -> integer().
read_us(#interpreter{read_us = ReadUs}) -> ReadUs.

%% @doc What it died of.
-spec reason(interpreter()) -> py_error:ending() | term().
reason(#interpreter{doom = Doom}) when Doom =/= undefined -> Doom;
reason(#interpreter{status = undefined}) -> closed;
reason(#interpreter{status = Status, said = Said}) when Status > 128 -> {signal, Status - 128, py_last_words:text(Said)};
reason(#interpreter{status = Status, said = Said}) -> {exit_status, Status, py_last_words:text(Said)}.

%% @doc Let go of everything that it was held by; what it has forked and left goes, too.
-spec close(interpreter()) -> ok.
close(#interpreter{reader = Reader, port = Port, outlet = Outlet, box = Box, page = Page, os_pid = OsPid} = Interpreter) ->
    #interpreter{listener = Listener, errors = Errors, stub = Stub} = Interpreter,
    catch port_close(Port),
    py_reader:stop(Reader),
    py_outlet:close(Outlet),
    _ = [gen_tcp:close(Socket) || Socket <- [Listener, Errors], Socket =/= undefined],
    _ = file:delete(Page),
    _ = file:delete(Page ++ ".err"),
    Pids = [OsPid | [Stub || Stub =/= undefined]],
    lists:foreach(fun py_launcher:kill_group/1, Pids),
    _ = [py_sandbox:close(Box) || Box =/= undefined],
    lists:foreach(fun py_watchdog:forget/1, Pids).
