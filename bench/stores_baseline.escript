#!/usr/bin/env escript
%% -*- erlang -*-
%%! -smp enable +S 2:2
%% ETS, DETS and Mnesia at what bench/stores.py asks of a store: as many sessions with 300 bytes of metadata, chosen by
%% chance, by 1 process and by 64 at once. What is durable is synced to the disk before it returns.
%%
%% Usage: escript stores_baseline.escript SESSIONS (ets | dets | mnesia_ram | mnesia_disc | mnesia_dirty)
%% Needs: Debian's erlang-base, erlang-mnesia and erlang-crypto. Prints one JSON object per line.
-mode(compile).

main([Sessions, Name]) ->
    N = list_to_integer(Sessions),
    Engine = list_to_atom(Name),
    Dir = string:trim(os:cmd("mktemp -d")),
    logger:set_primary_config(level, error),
    application:set_env(mnesia, dir, Dir ++ "/mnesia"),
    application:set_env(mnesia, dump_log_write_threshold, 50000),
    Ids = list_to_tuple([new_id() || _ <- lists:seq(1, N)]),
    Before = resident(),
    open(Engine, Dir),
    {Put, Get, Sync} = acts(Engine),
    Any = fun() -> element(rand:uniform(N), Ids) end,
    Mixed = fun(Write) -> case rand:uniform() < 0.1 of true -> Write(Any()); false -> Get(Any()) end end,
    Synced = fun(Id) -> Put(Id), Sync() end,
    run("create", 64, N, fun(I) -> Put(element(I, Ids)) end),
    value(resident_mb_filled, (resident() - Before) / 1048576),
    [begin
        Many = max(N div 5, 1),
        run("get", P, Many, fun(_) -> Get(Any()) end),
        run("put", P, Many, fun(_) -> Put(Any()) end),
        run("mixed", P, Many, fun(_) -> Mixed(Put) end),
        case Sync of
            none -> ok;
            _ ->
                run("put durable", P, max(N div 200, 64), fun(_) -> Synced(Any()) end),
                run("mixed durable", P, max(N div 50, 64), fun(_) -> Mixed(Synced) end)
        end
     end || P <- [1, 64]],
    scan(Engine, N),
    value(resident_mb, (resident() - Before) / 1048576),
    value(disk_mb, filelib:fold_files(Dir, ".*", true, fun(F, S) -> S + filelib:file_size(F) end, 0) / 1048576),
    os:cmd("rm -rf " ++ Dir).

new_id() -> string:lowercase(binary:encode_hex(crypto:strong_rand_bytes(16))).

session(Id) ->
    Now = erlang:system_time(millisecond),
    #{id => Id, created_at => Now, last_accessed => Now, timeout_ms => 3600000, metadata => crypto:strong_rand_bytes(300)}.

%% -- engines -------------------------------------------------------------------------------------
open(ets, _) ->
    %% Its owner must live on.
    ets:new(s, [set, public, named_table, {read_concurrency, true}, {write_concurrency, true}]);
open(dets, Dir) -> {ok, s} = dets:open_file(s, [{file, Dir ++ "/s.dets"}, {type, set}, {auto_save, 60000}]);
open(Mnesia, _) ->
    Copies = case Mnesia of mnesia_ram -> ram_copies; _ -> disc_copies end,
    mnesia:create_schema([node()]),
    ok = mnesia:start(),
    {atomic, ok} = mnesia:create_table(s, [{Copies, [node()]}]),
    ok = mnesia:wait_for_tables([s], 10000).

acts(ets) ->
    {fun(Id) -> ets:insert(s, {Id, session(Id)}) end, fun(Id) -> [{_, _}] = ets:lookup(s, Id) end, none};
acts(dets) ->
    {fun(Id) -> ok = dets:insert(s, {Id, session(Id)}) end, fun(Id) -> [{_, _}] = dets:lookup(s, Id) end,
     fun() -> ok = dets:sync(s) end};
acts(mnesia_dirty) ->
    {fun(Id) -> ok = mnesia:dirty_write({s, Id, session(Id)}) end, fun(Id) -> [_] = mnesia:dirty_read(s, Id) end,
     fun() -> ok = mnesia:sync_log() end};
acts(Mnesia) ->
    {fun(Id) -> {atomic, ok} = mnesia:transaction(fun() -> mnesia:write({s, Id, session(Id)}) end) end,
     fun(Id) -> {atomic, [_]} = mnesia:transaction(fun() -> mnesia:read(s, Id) end) end,
     case Mnesia of mnesia_ram -> none; _ -> fun() -> ok = mnesia:sync_log() end end}.

scan(Engine, N) ->
    Count = fun(_, Acc) -> Acc + 1 end,
    T0 = erlang:monotonic_time(),
    N = case Engine of
        ets -> ets:foldl(Count, 0, s);
        dets -> dets:foldl(Count, 0, s);
        _ -> {atomic, Counted} = mnesia:transaction(fun() -> mnesia:foldl(Count, 0, s) end), Counted
    end,
    say("scan", N, T0, []).

%% -- measuring -----------------------------------------------------------------------------------
%% Each of `Processes` does its share, one act after the other; all are waited for.
run(What, Processes, Count, Fun) ->
    erlang:garbage_collect(),
    Each = max(Count div Processes, 1),
    Self = self(),
    T0 = erlang:monotonic_time(),
    Pids = [spawn_link(fun() ->
        Last = if P =:= Processes, What =:= "create" -> Count; true -> P * Each end,
        Self ! {self(), [timed(Fun, I) || I <- lists:seq((P - 1) * Each + 1, Last)]}
    end) || P <- lists:seq(1, Processes)],
    Took = lists:sort(lists:append([receive {Pid, T} -> T end || Pid <- Pids])),
    say(What ++ ", " ++ integer_to_list(Processes), length(Took), T0, Took).

timed(Fun, I) -> A = erlang:monotonic_time(), Fun(I), erlang:monotonic_time() - A.

say(Op, N, T0, Took) ->
    Sec = erlang:convert_time_unit(erlang:monotonic_time() - T0, native, nanosecond) / 1.0e9,
    io:format("{\"op\":\"~s\",\"ops_per_s\":~p~s}~n", [Op, round(N / Sec), percentiles(Took)]).

value(What, V) -> io:format("{\"op\":\"~p\",\"value\":~.1f}~n", [What, V * 1.0]).

percentiles([]) -> "";
percentiles(L) ->
    At = fun(P) -> erlang:convert_time_unit(lists:nth(max(1, round(length(L) * P)), L), native, nanosecond) / 1000 end,
    io_lib:format(",\"p50_us\":~.2f,\"p95_us\":~.2f,\"p99_us\":~.2f", [At(0.50), At(0.95), At(0.99)]).

resident() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    list_to_integer(lists:nth(2, string:lexemes(binary_to_list(Text), " "))) * 4096.
